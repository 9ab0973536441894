-- One row a published order that is there, without those on the move at the source: key and hash of its content.
SELECT
    p.order_id AS key,
    hash_record_extended(
        row(p.order_id, p.customer_id, p.status, p.amount, p.currency, p.placed_at, p.updated_at), 0
    ) AS fingerprint
FROM sales.orders AS p
WHERE
    p.deleted_at IS NULL
    AND p.order_id >= %(first_key)s AND p.order_id < %(end_key)s
    AND (%(keys)s::bigint[] IS NULL OR p.order_id = any(%(keys)s::bigint[]))
    AND NOT EXISTS (
        SELECT FROM moving AS m
        WHERE m.key = p.order_id
    );
