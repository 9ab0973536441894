-- One row: the number of published payments whose order is missing. An order is missing if its number is not above that
-- of the newest landed order and it is not in quarantine.
SELECT count(*) AS orphans
FROM sales.payments AS p
WHERE
    p.paid_at >= %(window_start)s AND p.paid_at < %(window_end)s
    AND p.order_id <= (SELECT max(o.order_id) FROM sales.orders AS o)
    AND NOT EXISTS (
        SELECT FROM sales.orders AS o
        WHERE o.order_id = p.order_id
    )
    AND NOT EXISTS (
        SELECT FROM quarantine.refused_keys AS r
        WHERE r.dataset = 'orders' AND r.key = jsonb_build_array(p.order_id::text)::text
    );
