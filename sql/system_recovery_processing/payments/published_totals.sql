-- One row per landed window: the number of published payments and their sum in hundredths.
SELECT
    lower(l.window_range) AS window_start,
    count(p.payment_id) AS row_count,
    coalesce(sum(round(p.amount * 100)), 0)::bigint AS hundredths
FROM ops.window_ledger AS l
LEFT JOIN sales.payments AS p ON p.paid_at >= lower(l.window_range) AND p.paid_at < upper(l.window_range)
WHERE
    l.dataset = 'payments' AND lower(l.window_range) >= %(window_start)s AND lower(l.window_range) < %(window_end)s
GROUP BY l.window_range
ORDER BY l.window_range;
