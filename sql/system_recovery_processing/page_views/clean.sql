-- One row per extracted view: the published columns, the reason if it is refused, and the number of the copy.
-- Of several rows with one number the first is published: a log that sends a view again means the same view.
WITH judged AS (
    SELECT
        r.view_id,
        r.session_id,
        r.viewed_at,
        lower(trim(r.path)) AS path,
        lower(trim(r.device)) AS device,
        r.seconds_on_page,
        r AS source_row,
        CASE
            WHEN num_nulls(r.view_id, r.viewed_at, r.path, r.device) > 0 THEN 'value missing'
            WHEN r.session_id IS NULL THEN 'no session'
            WHEN r.seconds_on_page IS NULL OR r.seconds_on_page < 0 THEN 'impossible duration'
            WHEN r.viewed_at < %(window_start)s OR r.viewed_at >= %(window_end)s THEN 'viewed outside the window'
        END AS reason
    FROM raw AS r
)

SELECT
    j.view_id,
    j.session_id,
    -- A copy is recorded under the key of the published row.
    first_value(j.viewed_at) OVER same_view AS viewed_at,
    j.path,
    j.device,
    j.seconds_on_page,
    j.source_row,
    j.reason,
    row_number() OVER same_view AS copy_no
FROM judged AS j
WINDOW
    same_view AS (
        PARTITION BY j.view_id, j.reason IS NULL ORDER BY j.viewed_at ASC, j.source_row::text ASC
    );
