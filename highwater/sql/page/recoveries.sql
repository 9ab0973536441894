-- One row per recovery that is not finished, or finished in the last day.
SELECT
    p.incident_id,
    p.kind,
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
    p.at_least,
    p.at_most,
    p.attempts,
    p.failures,
    coalesce(p.critical_done + p.non_critical_done, 0) AS windows_done,
    coalesce(p.critical_total + p.non_critical_total, 0) AS windows_total
FROM ops.recovery_progress AS p
INNER JOIN ops.incidents AS i USING (incident_id)
WHERE
    (p.recovered_at IS NULL OR p.recovered_at > ops.clock() - '1 day'::interval)
    AND i.datasets && %(datasets)s::text[]
ORDER BY p.incident_id DESC
LIMIT 10;
