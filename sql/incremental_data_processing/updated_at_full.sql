-- One row per order.
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
FROM shop.orders;
