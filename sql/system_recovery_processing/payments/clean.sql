-- One row a payment in `clean`, one a refused row in `rejected`; the answer counts the copies that were dropped. Of two
-- that claim one number and differ, nobody can tell which is true: both are refused.
WITH fingerprinted AS (
    SELECT
        r.*,
        r AS source_row,
        hash_record_extended(row(r.*), 0) AS fingerprint
    FROM raw AS r
),

copies AS (
    SELECT
        f.*,
        row_number() OVER same_payment AS copy_no,
        min(f.fingerprint) OVER whole_payment <> max(f.fingerprint) OVER whole_payment AS copies_differ
    FROM fingerprinted AS f
    WINDOW
        same_payment AS (PARTITION BY f.payment_id ORDER BY f.fingerprint),
        whole_payment AS (PARTITION BY f.payment_id)
),

judged AS MATERIALIZED (
    SELECT
        c.*,
        CASE
            WHEN num_nulls(c.payment_id, c.paid_at, c.method, c.status) > 0 THEN 'value missing'
            -- NaN is greater than every number
            WHEN c.amount IS NULL OR c.amount <= 0 OR c.amount = 'NaN' THEN 'amount not positive'
            WHEN c.currency IS NULL OR c.currency NOT IN ('EUR', 'USD', 'GBP', 'CHF') THEN 'unknown currency'
            WHEN c.paid_at < %(window_start)s OR c.paid_at >= %(window_end)s THEN 'paid outside the window'
            WHEN c.copies_differ THEN 'copies of one payment differ'
        END AS reason
    FROM copies AS c
),

cleaned AS (
    INSERT INTO clean (payment_id, order_id, paid_at, amount, currency, method, status)
    SELECT
        j.payment_id,
        j.order_id,
        j.paid_at,
        j.amount,
        j.currency,
        j.method,
        j.status
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
