-- One row per batch: the number of payments and their sum in hundredths, without refused ones and copies.
SELECT
    batch_start AS window_start,
    count(*) AS row_count,
    coalesce(sum(round(amount * 100)), 0)::bigint AS hundredths
FROM (
    SELECT DISTINCT
        batch_start,
        payment_id,
        amount
    FROM billing.payments
    WHERE
        batch_start >= %(window_start)s AND batch_start < %(window_end)s
        AND payment_id <> all(%(refused)s)
) AS good
GROUP BY batch_start
ORDER BY batch_start;
