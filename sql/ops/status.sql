-- One row per dataset: how much of what is due has landed, how fresh it is, and its checkpoint if it has one.
SELECT
    d.dataset,
    d.dag_id,
    d.published_table,
    f.landed_until,
    f.lag,
    f.is_stale,
    count(*) FILTER (WHERE w.is_due) AS windows_due,
    count(*) FILTER (WHERE w.is_due AND w.state = 'landed') AS windows_landed,
    count(*) FILTER (WHERE w.is_due AND w.state = 'running') AS windows_running,
    count(*) FILTER (WHERE w.is_due AND w.state = 'failed') AS windows_failed,
    count(*) FILTER (WHERE w.is_due AND w.state = 'skipped') AS windows_skipped,
    count(*) FILTER (WHERE w.is_due AND w.state = 'missing') AS windows_missing,
    coalesce(sum(w.rows_extracted), 0)::bigint AS rows_extracted,
    coalesce(sum(w.rows_published), 0)::bigint AS rows_published,
    coalesce(sum(w.rows_quarantined), 0)::bigint AS rows_quarantined,
    coalesce(sum(w.rows_deduplicated), 0)::bigint AS rows_deduplicated,
    max(w.landed_at) AS last_landed_at,
    coalesce(string_agg(
        CASE w.state
            WHEN 'landed' THEN 'L' WHEN 'running' THEN 'R' WHEN 'failed' THEN 'F'
            WHEN 'skipped' THEN 'S' WHEN 'missing' THEN 'M' ELSE 'N'
        END, '' ORDER BY w.window_start
    ), '') AS strip,
    min(w.window_start) AS first_window,
    to_jsonb(c) AS checkpoint
FROM control.datasets AS d
INNER JOIN ops.freshness AS f USING (dataset)
LEFT JOIN ops.window_status AS w USING (dataset)
LEFT JOIN ops.checkpoint_status AS c USING (dataset)
GROUP BY d.dataset, d.dag_id, d.published_table, f.landed_until, f.lag, f.is_stale, to_jsonb(c)
ORDER BY d.dataset;
