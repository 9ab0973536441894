-- One row per hour in which orders of the set changed, counted by the effect on the published table.
SELECT
    date_trunc('hour', r.changed_at) AS hour,
    count(*) FILTER (WHERE r.deleted_at IS NULL AND (p.order_id IS NULL OR p.deleted_at IS NOT NULL)) AS inserts,
    count(*) FILTER (WHERE r.deleted_at IS NULL AND p.order_id IS NOT NULL AND p.deleted_at IS NULL) AS updates,
    count(*) FILTER (WHERE r.deleted_at IS NOT NULL) AS deletes
FROM raw AS r
LEFT JOIN sales.orders AS p USING (order_id)
GROUP BY hour
ORDER BY hour;
