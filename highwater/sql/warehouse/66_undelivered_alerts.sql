-- Alerts that have not been delivered. Run as publisher; again is harmless.

-- One row per alert and address that has not received it; without an address if none is set.
CREATE OR REPLACE VIEW ops.undelivered_alerts AS
SELECT
    a.alert_no,
    a.event,
    a.title,
    a.created_at,
    v.destination,
    coalesce(v.state, 'pending') AS state,
    coalesce(v.tries, 0) AS tries,
    v.last_error,
    v.next_try_at
FROM ops.alerts AS a
LEFT JOIN ops.alert_deliveries AS v USING (alert_no)
WHERE v.state IN ('pending', 'given up') OR NOT a.addressed;

GRANT SELECT ON ops.undelivered_alerts TO loader, analyst;
