-- One row a view of the batch, as it stands there.
SELECT
    view_id,
    session_id,
    viewed_at,
    path,
    device,
    seconds_on_page
FROM web.page_views
WHERE batch_start = %(window_start)s;
