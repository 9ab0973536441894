-- One row per landed window whose run was killed after it had published and before it had written its summary. It would
-- not be loaded again, so what it left in staging would stay. Windows that are in work are left out.
SELECT DISTINCT
    l.dataset,
    lower(l.window_range) AS window_start,
    upper(l.window_range) AS window_end,
    l.dag_id,
    l.run_id
FROM ops.attempts AS a
INNER JOIN control.datasets AS d ON a.dataset = d.dataset AND d.grid = 'fixed'
INNER JOIN ops.window_ledger AS l
    ON a.dataset = l.dataset AND a.window_range = l.window_range AND a.dag_id = l.dag_id AND a.run_id = l.run_id
WHERE
    a.state IN ('lost', 'running', 'retrying', 'failed') AND a.stage IN ('load', 'summarise')
    AND (%(dataset)s::text IS NULL OR (l.dataset = %(dataset)s AND lower(l.window_range) = %(window_start)s))
    AND NOT EXISTS (
        SELECT FROM ops.processing_summary AS s
        WHERE s.dataset = l.dataset AND s.window_range = l.window_range AND s.version = l.version
    )
    AND NOT EXISTS (
        SELECT FROM ops.attempts AS b
        INNER JOIN ops.live_attempts USING (attempt_id)
        WHERE b.dataset = l.dataset AND b.window_range = l.window_range
    )
ORDER BY l.dataset, window_start;
