-- One row per batch: the views in it, copies left out.
SELECT
    batch_start AS window_start,
    count(DISTINCT view_id) AS row_count
FROM web.page_views
WHERE batch_start >= %(window_start)s AND batch_start < %(window_end)s
GROUP BY batch_start
ORDER BY batch_start;
