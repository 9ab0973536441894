-- The progress of each recovery, and the results of those that are over. Run as publisher; again is harmless.

-- One row per outage or first load of history, counted by the ledger now. For those that are over use
-- ops.recovery_progress: their windows may have been deleted from the record, or become due again.
CREATE OR REPLACE VIEW ops.recovery_now AS
SELECT
    i.incident_id,
    lower(i.window_ranges) AS outage_from,
    upper(i.window_ranges) AS outage_to,
    i.opened_at AS found_at,
    i.closed_at AS recovered_at,
    w.critical_done,
    w.critical_total,
    w.non_critical_done,
    w.non_critical_total,
    w.lost,
    e.windows_per_minute,
    (e.at_least + e.at_most) / 2 AS eta,
    a.attempts,
    a.failures,
    i.kind,
    e.at_least,
    e.at_most
FROM ops.incidents AS i
CROSS JOIN
    LATERAL (
        SELECT
            count(*) FILTER (WHERE d.critical AND s.state IN ('landed', 'skipped', 'held')) AS critical_done,
            count(*) FILTER (WHERE d.critical) AS critical_total,
            count(*) FILTER (WHERE NOT d.critical AND s.state IN ('landed', 'skipped', 'held')) AS non_critical_done,
            count(*) FILTER (WHERE NOT d.critical) AS non_critical_total,
            count(*) FILTER (
                WHERE s.state = 'skipped' AND EXISTS (
                    SELECT FROM ops.skipped_windows AS k
                    WHERE k.dataset = d.dataset AND k.window_range = s.window_range AND k.rule = 'lost'
                )
            ) AS lost,
            count(*) FILTER (WHERE s.state NOT IN ('landed', 'skipped', 'held')) AS windows_left
        FROM control.datasets AS d
        CROSS JOIN LATERAL ops.windows_between(d.dataset, lower(i.window_ranges), upper(i.window_ranges)) AS s
        WHERE
            d.dataset = any(i.datasets) AND i.window_ranges @> s.window_range AND s.is_due
            -- The ranges are those of all its datasets together: what had landed before the incident does not count.
            AND coalesce(s.landed_at, i.opened_at) >= i.opened_at
    ) AS w
CROSS JOIN
    LATERAL ops.estimate_load(i.datasets, i.window_ranges, i.opened_at, w.windows_left) AS e
CROSS JOIN
    LATERAL (
        SELECT
            count(*) FILTER (WHERE t.begins_attempt) AS attempts,
            count(*) FILTER (WHERE t.state IN ('retrying', 'failed', 'lost')) AS failures
        FROM ops.stage_tries AS t
        WHERE
            t.dataset = any(i.datasets) AND i.window_ranges @> t.window_range AND t.started_at >= i.opened_at
            AND (i.closed_at IS NULL OR t.started_at <= i.closed_at)
    ) AS a
WHERE i.kind IN ('outage found', 'first load of history');

-- Records the result of a recovery.
CREATE OR REPLACE FUNCTION ops.keep_recovery_result(p_incident bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO ops.recovery_results (
        incident_id, critical_done, critical_total, non_critical_done, non_critical_total, lost, windows_per_minute,
        attempts, failures
    )
    SELECT
        n.incident_id, n.critical_done, n.critical_total, n.non_critical_done, n.non_critical_total, n.lost,
        n.windows_per_minute, n.attempts, n.failures
    FROM ops.recovery_now AS n
    WHERE n.incident_id = p_incident
    ON CONFLICT (incident_id) DO NOTHING
$$;

-- Records the result when the incident of a recovery closes.
CREATE OR REPLACE FUNCTION ops.recovery_closes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM ops.keep_recovery_result(new.incident_id);
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER recovery_closes AFTER UPDATE OF closed_at ON ops.incidents
FOR EACH ROW WHEN (old.closed_at IS NULL AND new.closed_at IS NOT NULL)
EXECUTE FUNCTION ops.recovery_closes();

-- One row per outage or first load of history: how much of it has landed, and when the rest may be done; of one that is
-- over, its result when it closed.
CREATE OR REPLACE VIEW ops.recovery_progress AS
SELECT
    n.incident_id,
    n.outage_from,
    n.outage_to,
    n.found_at,
    n.recovered_at,
    n.critical_done,
    n.critical_total,
    n.non_critical_done,
    n.non_critical_total,
    n.lost,
    n.windows_per_minute,
    n.eta,
    n.attempts,
    n.failures,
    n.kind,
    n.at_least,
    n.at_most
FROM ops.recovery_now AS n
WHERE n.recovered_at IS NULL
UNION ALL
SELECT
    i.incident_id,
    lower(i.window_ranges) AS outage_from,
    upper(i.window_ranges) AS outage_to,
    i.opened_at AS found_at,
    i.closed_at AS recovered_at,
    r.critical_done,
    r.critical_total,
    r.non_critical_done,
    r.non_critical_total,
    r.lost,
    r.windows_per_minute,
    NULL::interval AS eta,
    r.attempts,
    r.failures,
    i.kind,
    NULL::interval AS at_least,
    NULL::interval AS at_most
FROM ops.incidents AS i
INNER JOIN ops.recovery_results AS r USING (incident_id)
WHERE i.closed_at IS NOT NULL;

REVOKE EXECUTE ON FUNCTION ops.keep_recovery_result, ops.recovery_closes FROM public;
GRANT SELECT ON ops.recovery_now, ops.recovery_results, ops.recovery_progress TO loader, analyst;
