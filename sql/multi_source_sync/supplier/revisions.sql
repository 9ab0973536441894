-- One row per delivered week: its start and its newest delivery.
SELECT
    week::timestamp AT TIME ZONE 'UTC' AS window_start,
    'delivery ' || max(delivery_no) AS revision
FROM supplier.deliveries
WHERE delivered_at <= %(now)s
GROUP BY week
ORDER BY week;
