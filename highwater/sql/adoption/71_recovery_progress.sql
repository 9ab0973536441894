-- Recoveries that closed before results were kept: what the ledger says of them now is all there is.
SELECT ops.keep_recovery_result(n.incident_id)
FROM ops.recovery_now AS n
WHERE
    n.recovered_at IS NOT NULL
    AND n.incident_id NOT IN (SELECT r.incident_id FROM ops.recovery_results AS r);
