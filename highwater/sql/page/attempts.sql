-- One row per try of a stage of a window, newest first.
SELECT
    a.attempt_id,
    a.stage,
    CASE WHEN a.state = 'running' AND live.attempt_id IS NULL THEN 'lost' ELSE a.state END AS state,
    a.error,
    a.dag_id,
    a.run_id,
    a.try_number,
    a.pid,
    a.started_at,
    a.ended_at,
    a.seconds,
    a.row_count,
    a.peak_memory_bytes
FROM ops.attempts AS a
LEFT JOIN ops.live_attempts AS live USING (attempt_id)
WHERE
    a.dataset = %(dataset)s AND lower(a.window_range) >= %(since)s AND lower(a.window_range) < %(until)s
ORDER BY a.attempt_id DESC
LIMIT 60;
