-- One row per order, and per order that is known to be deleted.
SELECT
    order_id,
    customer_id,
    status,
    amount,
    currency,
    placed_at,
    updated_at,
    NULL::timestamptz AS deleted_at,
    updated_at AS changed_at
FROM shop.orders
UNION ALL
SELECT
    d.order_id,
    d.customer_id,
    d.status,
    d.amount,
    d.currency,
    d.placed_at,
    d.updated_at,
    d.deleted_at,
    d.deleted_at AS changed_at
FROM shop.deleted_orders AS d
WHERE NOT EXISTS (
    SELECT FROM shop.orders AS o
    WHERE o.order_id = d.order_id
);
