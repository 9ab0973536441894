SELECT
    count(*) = %(expected_rows)s AS no_row_lost,
    count(*) = count(sale_id) AS sale_id_there,
    count(sale_id) = count(DISTINCT sale_id) AS sale_id_unique,
    count(*) FILTER (
        WHERE num_nulls(
            sold_at, store_code, till_no, product_code, quantity, unit_price, discount, revenue, currency,
            payment_method, receipt_no
        ) > 0
    ) = 0 AS nothing_empty,
    count(*) FILTER (WHERE sold_at < %(window_start)s OR sold_at >= %(window_end)s) = 0 AS within_window,
    count(*) FILTER (WHERE store_code !~ '^S[0-9]{3}$') = 0 AS store_code_shape,
    count(*) FILTER (WHERE till_no NOT BETWEEN 1 AND 20) = 0 AS till_no_range,
    count(*) FILTER (WHERE product_code !~ '^P[0-9]{5}$') = 0 AS product_code_shape,
    count(*) FILTER (WHERE quantity NOT BETWEEN 1 AND 100) = 0 AS quantity_range,
    count(*) FILTER (WHERE unit_price <= 0) = 0 AS unit_price_positive,
    count(*) FILTER (WHERE discount < 0) = 0 AS discount_not_negative,
    count(*) FILTER (WHERE discount > quantity * unit_price) = 0 AS discount_within_amount,
    count(*) FILTER (WHERE revenue <> quantity * unit_price - discount) = 0 AS revenue_adds_up,
    count(*) FILTER (WHERE currency NOT IN ('EUR', 'USD', 'GBP', 'CHF')) = 0 AS currency_known,
    count(*) FILTER (WHERE payment_method NOT IN ('cash', 'card', 'voucher', 'mobile')) = 0 AS payment_method_known,
    count(*) FILTER (WHERE receipt_no !~ '^S[0-9]{3}-[0-9]{1,2}-[0-9]+$') = 0 AS receipt_no_shape,
    count(customer_id) >= 0.5 * count(*) AS customers_known,
    avg(revenue) BETWEEN 10 AND 200 AS revenue_usual
FROM pg_temp.clean;
