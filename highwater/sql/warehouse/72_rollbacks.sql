-- One row per rollback that has not been acknowledged since.
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
