-- One row per version of a window that was ever landed by a run that finished, newest first.
SELECT
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
ORDER BY p.ended_at DESC
LIMIT 20;
