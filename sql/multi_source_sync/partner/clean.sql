-- One row per extracted order: the published columns, the reason if it is rejected, and its copy number. Copies differ
-- only in received_at.
WITH copies AS (
    SELECT
        r.*,
        r AS source_row,
        row_number() OVER (
            PARTITION BY r.order_id, r.ordered_at, r.product_code, r.quantity, r.amount ORDER BY r.received_at
        ) AS copy_no,
        count(*) OVER (PARTITION BY r.order_id) > count(*) OVER (
            PARTITION BY r.order_id, r.ordered_at, r.product_code, r.quantity, r.amount
        ) AS copies_differ
    FROM raw AS r
)

SELECT
    c.order_id,
    c.ordered_at,
    c.product_code,
    c.quantity,
    c.amount,
    c.source_row,
    c.copy_no,
    CASE
        WHEN c.order_id IS NULL THEN 'null key'
        WHEN num_nulls(c.ordered_at, c.product_code) > 0 THEN 'value missing'
        WHEN c.quantity IS NULL OR c.quantity <= 0 THEN 'quantity not positive'
        -- NaN is greater than every number
        WHEN c.amount IS NULL OR c.amount < 0 OR c.amount = 'NaN' OR c.amount <> round(c.amount, 2)
            THEN 'amount out of range'
        WHEN c.copies_differ THEN 'copies of one order differ'
    END AS reason
FROM copies AS c;
