-- One row per landed window: the number of views that were published or refused.
SELECT
    lower(l.window_range) AS window_start,
    (
        SELECT count(*) FROM sales.page_views AS v
        WHERE v.viewed_at >= lower(l.window_range) AND v.viewed_at < upper(l.window_range)
    ) + l.rows_quarantined AS row_count
FROM ops.window_ledger AS l
WHERE
    l.dataset = 'page_views' AND lower(l.window_range) >= %(window_start)s AND lower(l.window_range) < %(window_end)s
ORDER BY l.window_range;
