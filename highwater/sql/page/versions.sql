-- One row per version of a window that ever landed, newest first: its cost, and whether its rows are still kept.
WITH summed AS (
    SELECT
        p.window_range,
        p.version,
        p.dag_id,
        p.run_id,
        p.rows_extracted,
        p.rows_published,
        p.rows_quarantined,
        p.rows_deduplicated,
        p.seconds,
        p.rows_per_second,
        p.started_at,
        p.ended_at
    FROM ops.processing_summary AS p
    WHERE p.dataset = %(dataset)s AND p.window_range && %(window_range)s
),

held AS (
    SELECT
        v.window_range,
        v.version,
        v.dag_id,
        v.run_id,
        v.rows_published,
        v.rows_quarantined,
        v.landed_at,
        v.state,
        v.kept_until
    FROM ops.versions AS v
    WHERE v.dataset = %(dataset)s AND v.window_range && %(window_range)s
)

SELECT
    version,
    coalesce(s.dag_id, h.dag_id) AS dag_id,
    coalesce(s.run_id, h.run_id) AS run_id,
    s.rows_extracted,
    coalesce(s.rows_published, h.rows_published) AS rows_published,
    coalesce(s.rows_quarantined, h.rows_quarantined) AS rows_quarantined,
    s.rows_deduplicated,
    s.seconds,
    s.rows_per_second,
    s.started_at,
    coalesce(s.ended_at, h.landed_at) AS ended_at,
    h.state,
    h.kept_until
FROM summed AS s
FULL JOIN held AS h USING (window_range, version)
ORDER BY coalesce(s.ended_at, h.landed_at) DESC
LIMIT 20;
