-- All that is wrong now, whoever found it: what ops.look_for_incidents compares with the incidents that are open. Run
-- as publisher; again is harmless.

-- One row a kind of trouble and what it is about.
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
        kind,
        subject,
        dataset,
        since,
        window_ranges,
        NULL AS attempt_id
    FROM ops.recovery_troubles
) AS t
GROUP BY t.kind, t.subject;

GRANT SELECT ON ops.current_troubles TO loader, analyst;
