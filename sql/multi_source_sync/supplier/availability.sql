-- One row once the week was delivered: its newest delivery. A later one replaces it.
SELECT
    TRUE AS complete,
    settlements AS expected_rows,
    'delivery ' || delivery_no AS revision,
    'delivered at ' || to_char(delivered_at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS note
FROM supplier.deliveries
WHERE week = (%(window_start)s AT TIME ZONE 'UTC')::date AND delivered_at <= %(now)s
ORDER BY delivery_no DESC
LIMIT 1;
