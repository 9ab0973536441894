-- One row per stretch of due windows that have not landed for one and the same reason and that no rule skips.
SELECT
    t.dataset,
    lower(stretch.window_range) AS window_start,
    upper(stretch.window_range) AS window_end,
    t.state,
    t.reason
FROM (
    SELECT
        dataset,
        state,
        reason,
        range_agg(window_range) AS windows
    FROM ops.window_status
    WHERE is_due AND state IN ('failed', 'missing')
    GROUP BY dataset, state, reason
) AS t
CROSS JOIN LATERAL unnest(t.windows) AS stretch (window_range)
ORDER BY t.dataset ASC, window_start ASC
LIMIT %(most)s;
