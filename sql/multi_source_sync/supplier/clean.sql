-- One row a settlement in `clean`, one a refused row in `rejected`; the answer counts the copies that were dropped.
WITH copies AS (
    SELECT
        r.*,
        r AS source_row,
        row_number() OVER (PARTITION BY r.* ORDER BY r.settlement_id) AS copy_no,
        count(*) OVER (PARTITION BY r.settlement_id) > count(*) OVER (PARTITION BY r.*) AS copies_differ
    FROM raw AS r
),

judged AS MATERIALIZED (
    SELECT
        c.*,
        CASE
            WHEN c.settlement_id IS NULL THEN 'null key'
            WHEN num_nulls(c.settled_from, c.product_code, c.quantity) > 0 THEN 'value missing'
            -- NaN is greater than every number
            WHEN c.amount IS NULL OR c.amount = 'NaN' OR c.amount <> round(c.amount, 2) THEN 'amount out of range'
            WHEN c.settled_from < %(window_start)s OR c.settled_from >= %(window_end)s THEN 'settled outside the week'
            WHEN c.copies_differ THEN 'copies of one settlement differ'
        END AS reason
    FROM copies AS c
),

cleaned AS (
    INSERT INTO clean (settlement_id, settled_from, product_code, quantity, amount)
    SELECT
        j.settlement_id,
        j.settled_from,
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
