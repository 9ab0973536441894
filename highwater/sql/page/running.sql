-- One row per stage that runs now.
SELECT
    a.dataset,
    lower(a.window_range) AS window_start,
    upper(a.window_range) AS window_end,
    a.stage,
    a.dag_id,
    a.run_id,
    a.started_at,
    ops.clock() - a.started_at AS since
FROM ops.attempts AS a
INNER JOIN ops.live_attempts USING (attempt_id)
WHERE a.state = 'running' AND a.dataset = any(%(datasets)s::text[])
ORDER BY a.started_at ASC
LIMIT 50;
