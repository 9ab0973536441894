-- One row an order that says it changed since the watermark, with the overlap before it.
-- Misses deletions, and what commits later than the overlap.
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
WHERE updated_at >= %(watermark)s::timestamptz - %(overlap)s::interval;
