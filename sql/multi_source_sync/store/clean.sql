-- One row per extracted sale: the published columns, the reason if it is rejected, and its copy number.
WITH copies AS (
    SELECT
        r.*,
        r AS source_row,
        row_number() OVER (PARTITION BY r.* ORDER BY r.sale_id) AS copy_no,
        count(*) OVER (PARTITION BY r.sale_id) > count(*) OVER (PARTITION BY r.*) AS copies_differ
    FROM raw AS r
)

SELECT
    c.sale_id,
    c.sold_at,
    c.store_code,
    c.product_code,
    c.quantity,
    c.amount,
    c.partner_order_id,
    c.source_row,
    c.copy_no,
    CASE
        WHEN c.sale_id IS NULL THEN 'null key'
        WHEN num_nulls(c.sold_at, c.store_code, c.product_code) > 0 THEN 'value missing'
        WHEN c.quantity IS NULL OR c.quantity <= 0 THEN 'quantity not positive'
        -- NaN is greater than every number
        WHEN c.amount IS NULL OR c.amount < 0 OR c.amount = 'NaN' OR c.amount <> round(c.amount, 2)
            THEN 'amount out of range'
        WHEN c.copies_differ THEN 'copies of one sale differ'
    END AS reason
FROM copies AS c;
