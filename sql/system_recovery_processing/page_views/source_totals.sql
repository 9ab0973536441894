-- One row per batch: its number of views, without copies.
SELECT
    batch_start AS window_start,
    count(DISTINCT view_id) AS row_count
FROM web.page_views
WHERE batch_start >= %(window_start)s AND batch_start < %(window_end)s
GROUP BY batch_start
ORDER BY batch_start;
