-- Recoveries that closed before results were kept get the result that the ledger shows now.
SELECT ops.keep_recovery_result(n.incident_id)
FROM ops.recovery_now AS n
WHERE
    n.recovered_at IS NOT NULL
    AND n.incident_id NOT IN (SELECT r.incident_id FROM ops.recovery_results AS r);
