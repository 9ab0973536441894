-- A rollback is told to everybody, and stays an incident until a person has acknowledged it. Run as publisher; again is
-- harmless.
INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'rolled back', '24 hours', TRUE,
    'A former version was put back; ops.rollbacks says by whom and why. It is held until somebody releases it: mend '
    'the source, clean.sql or the suite, then scripts/highwater release, and load the window again.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

-- One row per rollback that nobody has acknowledged since.
CREATE OR REPLACE VIEW ops.rollback_troubles AS
SELECT
    'rolled back' AS kind,
    r.dataset AS subject,
    r.dataset,
    r.rolled_back_at AS since,
    tstzmultirange(r.window_range) AS window_ranges
FROM ops.rollbacks AS r
WHERE NOT EXISTS (
    SELECT FROM ops.incidents AS i
    WHERE i.kind = 'rolled back' AND i.subject = r.dataset AND i.acknowledged_at >= r.rolled_back_at
);

GRANT SELECT ON ops.rollback_troubles TO loader, analyst;
