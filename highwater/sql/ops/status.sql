-- One row per dataset: its due windows by state, its freshness, one letter per recent window, its checkpoint if it has
-- one, and the oldest ranges that have not landed.
SELECT
    d.dataset,
    d.dag_id,
    d.published_table,
    f.landed_until,
    f.lag,
    f.is_stale,
    t.windows_due,
    t.windows_landed,
    t.windows_running,
    t.windows_failed,
    t.windows_skipped,
    t.windows_held,
    t.windows_missing,
    t.rows_extracted,
    t.rows_published,
    t.rows_quarantined,
    t.rows_deduplicated,
    t.last_landed_at,
    begun.windows AS windows_begun,
    newest.strip,
    CASE WHEN begun.windows > 0 THEN d.first_window END AS first_window,
    to_jsonb(c) AS checkpoint,
    oldest.not_landed
FROM control.datasets AS d
INNER JOIN ops.freshness AS f USING (dataset)
INNER JOIN ops.window_totals AS t USING (dataset)
CROSS JOIN
    LATERAL (
        SELECT
            greatest(0, 1 + floor(
                extract(EPOCH FROM ops.clock() - d.first_window) / extract(EPOCH FROM d.step)
            ))::bigint AS windows
    ) AS begun
CROSS JOIN
    LATERAL (
        SELECT
            coalesce(string_agg(
                CASE w.state
                    WHEN 'landed' THEN 'L' WHEN 'running' THEN 'R' WHEN 'failed' THEN 'F'
                    WHEN 'skipped' THEN 'S' WHEN 'held' THEN 'H' WHEN 'missing' THEN 'M' ELSE 'N'
                END, '' ORDER BY w.window_range
            ), '') AS strip
        FROM ops.windows_between(
            d.dataset,
            d.first_window + make_interval(
                secs => extract(EPOCH FROM d.step) * greatest(0, begun.windows - %(strip)s)
            ),
            'infinity'
        ) AS w
    ) AS newest
CROSS JOIN
    LATERAL (
        SELECT coalesce(range_agg(o.gap), '{}'::tstzmultirange)::text AS not_landed
        FROM (
            SELECT u.gap FROM unnest(t.not_landed) AS u (gap)
            ORDER BY u.gap
            LIMIT %(troubles)s
        ) AS o
    ) AS oldest
LEFT JOIN ops.checkpoint_status AS c USING (dataset)
ORDER BY d.dataset;
