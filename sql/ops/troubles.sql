-- One row per due window that has not landed and that no rule skips, with the reason; the oldest first.
SELECT
    dataset,
    window_start,
    window_end,
    state,
    reason
FROM ops.window_status
WHERE is_due AND state IN ('failed', 'missing')
ORDER BY dataset, window_start
LIMIT %(most)s;
