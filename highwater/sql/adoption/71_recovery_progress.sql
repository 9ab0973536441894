-- Recoveries that closed before results were kept get the result that the ledger shows now.
SELECT ops.keep_recovery_result(i.incident_id)
FROM ops.incidents AS i
WHERE
    i.closed_at IS NOT NULL
    AND i.incident_id NOT IN (SELECT r.incident_id FROM ops.recovery_results AS r);
