-- One row per extracted payment: the published columns, the reason if it is refused, and the number of the copy.
-- If two payments with one number differ, there is no telling which is true: both are refused.
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
)

SELECT
    c.payment_id,
    c.order_id,
    c.paid_at,
    c.amount,
    c.currency,
    c.method,
    c.status,
    c.source_row,
    c.copy_no,
    CASE
        WHEN num_nulls(c.payment_id, c.paid_at, c.method, c.status) > 0 THEN 'value missing'
        -- NaN is greater than every number
        WHEN c.amount IS NULL OR c.amount <= 0 OR c.amount = 'NaN' THEN 'amount not positive'
        WHEN c.currency IS NULL OR c.currency NOT IN ('EUR', 'USD', 'GBP', 'CHF') THEN 'unknown currency'
        WHEN c.paid_at < %(window_start)s OR c.paid_at >= %(window_end)s THEN 'paid outside the window'
        WHEN c.copies_differ THEN 'copies of one payment differ'
    END AS reason
FROM copies AS c;
