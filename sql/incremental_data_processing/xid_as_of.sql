-- One row per order that has not changed since the checkpoint: its key and the hash of its content.
SELECT
    order_id,
    hash_record_extended(row(order_id, customer_id, status, amount, currency, placed_at, updated_at), 0) AS fingerprint
FROM shop.orders
WHERE pg_visible_in_snapshot(changed_xid, %(snapshot)s::pg_snapshot);
