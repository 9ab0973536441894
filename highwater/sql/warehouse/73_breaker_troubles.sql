-- One row per dataset that is stopped now. One without a row in control.datasets may be a wrong name that is not used
-- any more: it is left out once acknowledged, until another run waits for it.
CREATE OR REPLACE VIEW ops.breaker_troubles AS
SELECT
    'dataset stopped' AS kind,
    b.dataset AS subject,
    b.dataset,
    b.opened_at AS since,
    CASE WHEN b.error_kind = 'not registered' THEN '{}'::tstzmultirange ELSE b.window_ranges END AS window_ranges
FROM ops.breakers AS b
WHERE
    b.closed_at IS NULL
    AND NOT (
        b.error_kind = 'not registered'
        AND EXISTS (
            SELECT FROM ops.incidents AS i
            WHERE i.kind = 'dataset stopped' AND i.subject = b.dataset AND i.acknowledged_at >= b.opened_at
        )
    );

GRANT SELECT ON ops.breaker_troubles TO loader, analyst;
