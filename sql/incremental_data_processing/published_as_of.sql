-- One row per published order that is not deleted: its key and the hash of its content.
SELECT
    order_id,
    hash_record_extended(row(order_id, customer_id, status, amount, currency, placed_at, updated_at), 0) AS fingerprint
FROM sales.orders
WHERE deleted_at IS NULL;
