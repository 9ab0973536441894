-- One row a week that was delivered: where it begins, and which delivery is the newest.
SELECT
    week::timestamp AT TIME ZONE 'UTC' AS window_start,
    'delivery ' || max(delivery_no) AS revision
FROM supplier.deliveries
WHERE delivered_at <= %(now)s
GROUP BY week
ORDER BY week;
