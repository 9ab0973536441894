-- One row a sale in `clean`, one a refused row in `rejected`; the answer counts the copies that were dropped.
WITH copies AS (
    SELECT
        r.*,
        r AS source_row,
        row_number() OVER (PARTITION BY r.* ORDER BY r.sale_id) AS copy_no,
        count(*) OVER (PARTITION BY r.sale_id) > count(*) OVER (PARTITION BY r.*) AS copies_differ
    FROM raw AS r
),

judged AS MATERIALIZED (
    SELECT
        c.*,
        CASE
            WHEN c.sale_id IS NULL THEN 'null key'
            WHEN num_nulls(c.sold_at, c.store_code, c.product_code) > 0 THEN 'value missing'
            WHEN c.quantity IS NULL OR c.quantity <= 0 THEN 'quantity not positive'
            -- NaN is greater than every number
            WHEN c.amount IS NULL OR c.amount < 0 OR c.amount = 'NaN' OR c.amount <> round(c.amount, 2)
                THEN 'amount out of range'
            WHEN c.copies_differ THEN 'copies of one sale differ'
        END AS reason
    FROM copies AS c
),

cleaned AS (
    INSERT INTO clean (sale_id, sold_at, store_code, product_code, quantity, amount, partner_order_id)
    SELECT
        j.sale_id,
        j.sold_at,
        j.store_code,
        j.product_code,
        j.quantity,
        j.amount,
        j.partner_order_id
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
