-- One row a view in `clean`, one a refused row in `rejected`; the answer counts the copies that were dropped. The first
-- of several rows with one number is taken: a log that sends a view again means the same view.
WITH judged AS MATERIALIZED (
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
),

numbered AS (
    SELECT
        j.*,
        row_number() OVER (PARTITION BY j.view_id ORDER BY j.viewed_at ASC, j.source_row::text ASC) AS copy_no
    FROM judged AS j
    WHERE j.reason IS NULL
),

cleaned AS (
    INSERT INTO clean (view_id, session_id, viewed_at, path, device, seconds_on_page)
    SELECT
        n.view_id,
        n.session_id,
        n.viewed_at,
        n.path,
        n.device,
        n.seconds_on_page
    FROM numbered AS n
    WHERE n.copy_no = 1
),

refused AS (
    INSERT INTO rejected (reason, source_row)
    SELECT
        j.reason,
        to_jsonb(j.source_row) AS source_row
    FROM judged AS j
    WHERE j.reason IS NOT NULL
)

SELECT count(*) AS rows_deduplicated
FROM numbered
WHERE copy_no > 1;
