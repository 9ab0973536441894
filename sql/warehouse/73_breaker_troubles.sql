-- That a dataset is stopped is told to everybody. Run as publisher; again is harmless.
INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'dataset stopped', '1 hour', FALSE,
    'Its windows failed in a row for one reason, or it has a DAG and no row in control.datasets: ops.breakers says '
    'which. No more are tried until a file of sql/, expectations/ or dags/, a setting, a connection, its rows of '
    'control or its table changed (where its source may be what was mended, once an hour too); then all that was not '
    'loaded comes back by itself.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

-- One row a dataset that is stopped now.
CREATE OR REPLACE VIEW ops.breaker_troubles AS
SELECT
    'dataset stopped' AS kind,
    b.dataset AS subject,
    b.dataset,
    b.opened_at AS since,
    CASE WHEN b.error_kind = 'NotRegistered' THEN '{}'::tstzmultirange ELSE b.window_ranges END AS window_ranges
FROM ops.breakers AS b
WHERE b.closed_at IS NULL;

GRANT SELECT ON ops.breaker_troubles TO loader, analyst;
