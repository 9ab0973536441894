-- One row per view of the batch, unchanged.
SELECT
    view_id,
    session_id,
    viewed_at,
    path,
    device,
    seconds_on_page
FROM web.page_views
WHERE batch_start = %(window_start)s;
