-- One row per receipt line of the business day, as the tills wrote it.
SELECT
    business_date,
    sale_id,
    receipt_no,
    store_code,
    till_no,
    product_code,
    quantity,
    unit_price,
    discount,
    currency,
    payment_method,
    customer_id,
    sold_at
FROM legacy.sales
WHERE business_date = (%(window_start)s AT TIME ZONE 'UTC')::date;
