-- One row per incident that is open, oldest first.
SELECT
    i.incident_id,
    i.subject || ': ' || i.kind || ' since ' || to_char(i.since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'
        AS title,
    i.kind,
    i.subject,
    coalesce(
        to_char(lower(i.window_ranges) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' to '
        || to_char(upper(i.window_ranges) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), ''
    ) AS windows,
    (
        SELECT count(*) FROM ops.incident_attempts AS a
        WHERE a.incident_id = i.incident_id
    ) AS attempts,
    i.escalated_at IS NOT NULL AS escalated,
    i.acknowledged_by,
    k.advice,
    k.is_trouble,
    r.reason
FROM ops.incidents AS i
INNER JOIN control.incident_kinds AS k USING (kind)
LEFT JOIN ops.incident_reasons AS r ON i.incident_id = r.incident_id
WHERE i.closed_at IS NULL
ORDER BY i.incident_id;
