-- Everything that is wrong now: ops.reconcile_incidents compares it with the open incidents. Run as publisher; again is
-- harmless.

-- One row per dataset whose source the newest check did not reach.
CREATE OR REPLACE VIEW ops.source_troubles AS
SELECT
    'source unavailable' AS kind,
    s.source AS subject,
    s.dataset,
    c.checked_at AS since,
    tstzmultirange(c.window_range) AS window_ranges
FROM control.sources AS s
INNER JOIN ops.source_checks AS c USING (source)
WHERE
    NOT c.reachable
    AND NOT EXISTS (
        SELECT FROM ops.source_checks AS later
        WHERE later.source = c.source AND later.check_id > c.check_id AND later.reachable
    );

-- One row per trouble that is not of one attempt; all views have these columns.
CREATE OR REPLACE VIEW ops.other_troubles AS
SELECT
    t.kind,
    t.subject,
    t.dataset,
    t.since,
    t.window_ranges
FROM (
    SELECT * FROM ops.recovery_troubles
    UNION ALL
    SELECT * FROM ops.rollback_troubles
    UNION ALL
    SELECT * FROM ops.breaker_troubles
    UNION ALL
    SELECT * FROM ops.content_troubles
    UNION ALL
    SELECT * FROM ops.policy_troubles
    UNION ALL
    SELECT * FROM ops.backfill_troubles
    UNION ALL
    SELECT * FROM ops.source_troubles
    UNION ALL
    SELECT
        kind,
        subject,
        subject AS dataset,
        since,
        '{}'::tstzmultirange AS window_ranges
    FROM ops.platform_troubles
) AS t;

-- One row per kind of trouble and its subject.
CREATE OR REPLACE VIEW ops.current_troubles AS
SELECT
    t.kind,
    t.subject,
    array_agg(DISTINCT t.dataset ORDER BY t.dataset) AS datasets,
    min(t.since) AS since,
    coalesce(range_agg(t.window_ranges), '{}'::tstzmultirange) AS window_ranges,
    array_agg(t.attempt_id) FILTER (WHERE t.attempt_id IS NOT NULL) AS attempts
FROM (
    SELECT
        kind,
        subject,
        dataset,
        since,
        window_ranges,
        attempt_id
    FROM ops.loading_troubles
    UNION ALL
    SELECT
        *,
        NULL AS attempt_id
    FROM ops.other_troubles
) AS t
GROUP BY t.kind, t.subject;

GRANT SELECT ON ops.source_troubles, ops.other_troubles, ops.current_troubles TO loader, analyst;
