-- One row per order unchanged since the watermark by its updated_at: its key and the hash of its content.
SELECT
    order_id,
    hash_record_extended(row(order_id, customer_id, status, amount, currency, placed_at, updated_at), 0) AS fingerprint
FROM shop.orders
WHERE updated_at < %(watermark)s::timestamptz;
