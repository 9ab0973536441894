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
