-- One row: the due windows of one dataset by state, rows, speed and estimate. Windows of failed runs, which are given
-- by their logical dates, are counted apart.
WITH rest AS (
    SELECT e.*
    FROM (
        SELECT coalesce(sum(g.windows), 0)::bigint AS windows FROM ops.gaps AS g
        WHERE g.dataset = %(dataset)s
    ) AS to_load
    CROSS JOIN
        LATERAL ops.estimate_load(
            ARRAY[%(dataset)s], '{(,)}'::tstzmultirange, '-infinity'::timestamptz, to_load.windows
        ) AS e
)

SELECT
    count(*) AS due,
    count(*) FILTER (WHERE w.state = 'landed') AS landed,
    count(*) FILTER (WHERE w.state = 'skipped') AS skipped,
    count(*) FILTER (WHERE w.state = 'held') AS held,
    count(*) FILTER (
        WHERE w.state NOT IN ('landed', 'skipped', 'held') AND w.window_range @> any(%(failed_runs)s::timestamptz[])
    ) AS failed,
    coalesce(sum(w.rows_extracted), 0)::bigint AS rows_extracted,
    coalesce(sum(w.rows_published), 0)::bigint AS rows_published,
    coalesce(sum(w.rows_quarantined), 0)::bigint AS rows_quarantined,
    coalesce(sum(w.rows_deduplicated), 0)::bigint AS rows_deduplicated,
    (
        SELECT count(*) FROM ops.gaps AS g
        WHERE g.dataset = %(dataset)s
    ) AS gaps,
    (
        SELECT max(c.windows_in_work) FROM ops.concurrency AS c
        WHERE c.dataset = %(dataset)s
    ) AS most_at_once,
    (
        SELECT sum(s.rows_extracted) / nullif(sum(s.seconds), 0) FROM ops.processing_summary AS s
        WHERE s.dataset = %(dataset)s
    ) AS rows_per_second,
    min(e.at_least) AS at_least,
    min(e.at_most) AS at_most
FROM ops.window_status AS w
CROSS JOIN rest AS e
WHERE w.dataset = %(dataset)s AND w.is_due;
