-- One row: whether the server was restarted too often, an incident is open, an attempt died, or one failed within the
-- last hour. Each is found by an index; ops.current_troubles takes ten times as long.
SELECT
    ops.note_start()
    OR EXISTS (
        SELECT FROM ops.incidents AS i
        WHERE i.closed_at IS NULL
    )
    OR EXISTS (
        SELECT FROM ops.attempts AS a
        WHERE a.state NOT IN ('succeeded', 'running') AND a.started_at > ops.clock() - '1 hour'::interval
    )
    OR EXISTS (
        SELECT FROM ops.attempts AS a
        WHERE
            a.state = 'running'
            AND NOT EXISTS (
                SELECT FROM ops.live_attempts AS live
                WHERE live.attempt_id = a.attempt_id
            )
    ) AS troubled;
