-- One row per order changed since the watermark, minus the overlap, by its updated_at. Misses deletions, and
-- transactions that commit later than the overlap.
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
