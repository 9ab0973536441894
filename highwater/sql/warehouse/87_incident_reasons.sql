-- The error behind each open incident, for people with access to the warehouse. Alerts never contain it
-- (ops.enqueue_alert), since it may quote values. Run as publisher; again is harmless.

-- One row per open incident: the error behind it.
CREATE OR REPLACE VIEW ops.incident_reasons AS
SELECT
    i.incident_id,
    coalesce(
        (
            SELECT b.reason FROM ops.breakers AS b
            WHERE i.kind = 'dataset stopped' AND b.dataset = i.subject AND b.closed_at IS NULL
        ),
        (
            SELECT t.task_id || ': ' || t.error FROM ops.own_tasks AS t
            WHERE i.kind = 'platform task failed' AND t.dag_id = i.subject AND t.error IS NOT NULL
            ORDER BY t.began_at DESC
            LIMIT 1
        ),
        (
            SELECT
                CASE
                    WHEN h.released_at IS NULL THEN 'held by ' || h.held_by || ': ' || h.reason
                    ELSE
                        'released by ' || h.released_by || ': ' || h.release_reason
                        || '; load the window again, then acknowledge this'
                END
            FROM ops.holds AS h
            WHERE i.kind = 'rolled back' AND h.dataset = i.subject AND i.window_ranges @> h.window_range
            ORDER BY h.hold_id DESC
            LIMIT 1
        ),
        (
            SELECT b.note FROM control.backfills AS b
            WHERE i.kind = 'backfill not started' AND i.subject = 'backfill ' || b.backfill_id || ' of ' || b.dataset
        ),
        (
            SELECT a.error FROM ops.incident_attempts AS n
            INNER JOIN ops.attempts AS a USING (attempt_id)
            WHERE n.incident_id = i.incident_id AND a.error IS NOT NULL
            ORDER BY a.attempt_id DESC
            LIMIT 1
        )
    ) AS reason
FROM ops.incidents AS i
WHERE i.closed_at IS NULL;

GRANT SELECT ON ops.incident_reasons TO loader, analyst;
