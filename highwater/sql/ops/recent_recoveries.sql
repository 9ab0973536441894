-- One row per recovery or first load that is not finished, or finished in the last day, oldest first.
SELECT
    p.incident_id,
    p.outage_from,
    p.outage_to,
    p.found_at,
    p.recovered_at,
    p.critical_done,
    p.critical_total,
    p.non_critical_done,
    p.non_critical_total,
    p.lost,
    p.windows_per_minute,
    p.eta,
    p.attempts,
    p.failures,
    p.kind,
    p.at_least,
    p.at_most
FROM ops.recovery_progress AS p
WHERE p.recovered_at IS NULL OR p.recovered_at > ops.clock() - '1 day'::interval
ORDER BY p.incident_id;
