-- One row per open incident, oldest first; only those about datasets that the visitor may see.
SELECT
    i.incident_id,
    i.kind,
    i.subject,
    i.datasets,
    i.since,
    i.opened_at,
    ops.clock() - i.since AS lasts,
    lower(i.window_ranges) AS windows_from,
    upper(i.window_ranges) AS windows_to,
    (
        SELECT count(*) FROM ops.incident_attempts AS a
        WHERE a.incident_id = i.incident_id
    ) AS attempts,
    i.escalated_at,
    i.acknowledged_at,
    i.acknowledged_by,
    i.note,
    k.needs_person,
    k.advice,
    k.is_trouble,
    r.reason
FROM ops.incidents AS i
INNER JOIN control.incident_kinds AS k USING (kind)
LEFT JOIN ops.incident_reasons AS r ON i.incident_id = r.incident_id
WHERE i.closed_at IS NULL AND i.datasets && %(datasets)s::text[]
ORDER BY i.incident_id ASC
LIMIT 100;
