-- The progress of each recovery, and the results of those that are over. Run as publisher; again is harmless.

-- The result of a recovery, counted by the ledger now. Once it is over use ops.recovery_progress: its windows may have
-- been deleted from the record since, or become due again.
CREATE OR REPLACE FUNCTION ops.count_recovery(p_incident ops.incidents) RETURNS ops.recovery_results
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH windows AS (
        SELECT
            d.critical,
            s.state IN ('landed', 'skipped', 'held') AS is_done,
            s.state = 'skipped' AND EXISTS (
                SELECT FROM ops.skipped_windows AS k
                WHERE k.dataset = d.dataset AND k.window_range = s.window_range AND k.rule = 'lost'
            ) AS is_lost
        FROM control.datasets AS d
        CROSS JOIN
            LATERAL ops.windows_between(d.dataset, lower(p_incident.window_ranges), upper(p_incident.window_ranges)) AS s
        WHERE
            d.dataset = any(p_incident.datasets) AND p_incident.window_ranges @> s.window_range AND s.is_due
            -- The ranges are those of all its datasets together: what had landed before the incident does not count.
            AND coalesce(s.landed_at, p_incident.opened_at) >= p_incident.opened_at
    )

    SELECT
        p_incident.incident_id,
        w.critical_done,
        w.critical_total,
        w.non_critical_done,
        w.non_critical_total,
        w.lost,
        (
            SELECT e.windows_per_minute
            FROM ops.estimate_load(p_incident.datasets, p_incident.window_ranges, p_incident.opened_at, w.windows_left) AS e
        ),
        a.attempts,
        a.failures
    FROM (
        SELECT
            count(*) FILTER (WHERE critical AND is_done) AS critical_done,
            count(*) FILTER (WHERE critical) AS critical_total,
            count(*) FILTER (WHERE NOT critical AND is_done) AS non_critical_done,
            count(*) FILTER (WHERE NOT critical) AS non_critical_total,
            count(*) FILTER (WHERE is_lost) AS lost,
            count(*) FILTER (WHERE NOT is_done) AS windows_left
        FROM windows
    ) AS w
    CROSS JOIN (
        SELECT
            count(*) FILTER (WHERE t.begins_attempt) AS attempts,
            count(*) FILTER (WHERE t.state IN ('retrying', 'failed', 'lost')) AS failures
        FROM ops.stage_tries AS t
        WHERE
            t.dataset = any(p_incident.datasets) AND p_incident.window_ranges @> t.window_range
            AND t.started_at >= p_incident.opened_at
            AND (p_incident.closed_at IS NULL OR t.started_at <= p_incident.closed_at)
    ) AS a
$$;

-- Records the result of a recovery.
CREATE OR REPLACE FUNCTION ops.keep_recovery_result(p_incident bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO ops.recovery_results
    SELECT r.* FROM ops.incidents AS i CROSS JOIN LATERAL ops.count_recovery(i) AS r
    WHERE i.incident_id = p_incident AND i.kind IN ('outage found', 'first load of history')
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
    (r.at_least + r.at_most) / 2 AS eta,
    r.attempts,
    r.failures,
    i.kind,
    r.at_least,
    r.at_most
FROM ops.incidents AS i
CROSS JOIN
    LATERAL (
        SELECT
            c.*,
            e.at_least,
            e.at_most
        FROM ops.count_recovery(i.*) AS c
        CROSS JOIN
            LATERAL ops.estimate_load(
                i.datasets, i.window_ranges, i.opened_at,
                c.critical_total - c.critical_done + c.non_critical_total - c.non_critical_done
            ) AS e
        WHERE i.closed_at IS NULL
        UNION ALL
        SELECT
            k.*,
            NULL AS at_least,
            NULL AS at_most
        FROM ops.recovery_results AS k
        WHERE k.incident_id = i.incident_id AND i.closed_at IS NOT NULL
    ) AS r
WHERE i.kind IN ('outage found', 'first load of history');

REVOKE EXECUTE ON FUNCTION ops.count_recovery, ops.keep_recovery_result, ops.recovery_closes FROM public;
GRANT EXECUTE ON FUNCTION ops.count_recovery TO loader, analyst;
GRANT SELECT ON ops.recovery_results, ops.recovery_progress TO loader, analyst;
