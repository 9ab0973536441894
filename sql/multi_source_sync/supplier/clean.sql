-- One row per extracted settlement: the published columns, the reason if it is rejected, and its copy number.
WITH copies AS (
    SELECT
        r.*,
        r AS source_row,
        row_number() OVER (PARTITION BY r.* ORDER BY r.settlement_id) AS copy_no,
        count(*) OVER (PARTITION BY r.settlement_id) > count(*) OVER (PARTITION BY r.*) AS copies_differ
    FROM raw AS r
)

SELECT
    c.settlement_id,
    c.settled_from,
    c.product_code,
    c.quantity,
    c.amount,
    c.source_row,
    c.copy_no,
    CASE
        WHEN c.settlement_id IS NULL THEN 'null key'
        WHEN num_nulls(c.settled_from, c.product_code, c.quantity) > 0 THEN 'value missing'
        -- NaN is greater than every number
        WHEN c.amount IS NULL OR c.amount = 'NaN' OR c.amount <> round(c.amount, 2) THEN 'amount out of range'
        WHEN c.settled_from < %(window_start)s OR c.settled_from >= %(window_end)s THEN 'settled outside the week'
        WHEN c.copies_differ THEN 'copies of one settlement differ'
    END AS reason
FROM copies AS c;
