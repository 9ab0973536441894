-- One row per order changed or deleted since the checkpoint's snapshot: all that the snapshot did not see, however late
-- it was committed.
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
WHERE
    changed_xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)
    AND NOT pg_visible_in_snapshot(changed_xid, %(snapshot)s::pg_snapshot)
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
WHERE
    d.changed_xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)
    AND NOT pg_visible_in_snapshot(d.changed_xid, %(snapshot)s::pg_snapshot)
    -- placed again under its number
    AND NOT EXISTS (
        SELECT FROM shop.orders AS o
        WHERE o.order_id = d.order_id
    );
