-- One row an order in `clean`, however often it came; one a refused row in `rejected`. The answer counts the copies
-- that were dropped: they differ in nothing but when they came.
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
),

judged AS MATERIALIZED (
    SELECT
        c.*,
        CASE
            WHEN c.order_id IS NULL THEN 'null key'
            WHEN num_nulls(c.ordered_at, c.product_code) > 0 THEN 'value missing'
            WHEN c.quantity IS NULL OR c.quantity <= 0 THEN 'quantity not positive'
            -- NaN is greater than every number
            WHEN c.amount IS NULL OR c.amount < 0 OR c.amount = 'NaN' OR c.amount <> round(c.amount, 2)
                THEN 'amount out of range'
            WHEN c.copies_differ THEN 'copies of one order differ'
        END AS reason
    FROM copies AS c
),

cleaned AS (
    INSERT INTO clean (order_id, ordered_at, product_code, quantity, amount)
    SELECT
        j.order_id,
        j.ordered_at,
        j.product_code,
        j.quantity,
        j.amount
    FROM judged AS j
    WHERE j.reason IS NULL AND j.copy_no = 1
),

refused AS (
    INSERT INTO rejected (reason, source_row)
    SELECT
        j.reason,
        to_jsonb(j.source_row) AS source_row
    FROM judged AS j
    WHERE j.reason IS NOT NULL
)

SELECT count(*) AS rows_deduplicated
FROM judged
WHERE reason IS NULL AND copy_no > 1;
