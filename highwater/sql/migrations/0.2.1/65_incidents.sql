-- Two kinds of incidents are renamed. Incidents reference their kind, so the new kind is inserted with the settings of
-- the old one, the incidents are updated, and the old kind is deleted.
INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice, is_trouble)
SELECT
    n.new_kind,
    k.escalate_after,
    k.needs_person,
    k.advice,
    k.is_trouble
FROM control.incident_kinds AS k
INNER JOIN (
    VALUES
    ('source away', 'source unavailable'),
    ('condition cannot be looked at', 'condition cannot be evaluated')
) AS n (old_kind, new_kind) ON k.kind = n.old_kind;

UPDATE ops.incidents AS i SET kind = n.new_kind
FROM (
    VALUES
    ('source away', 'source unavailable'),
    ('condition cannot be looked at', 'condition cannot be evaluated')
) AS n (old_kind, new_kind)
WHERE i.kind = n.old_kind;

DELETE FROM control.incident_kinds
WHERE kind IN ('source away', 'condition cannot be looked at');
