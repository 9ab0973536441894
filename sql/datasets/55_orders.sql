-- One row per order of the shop in its current state; a deleted order is kept, with the time of its deletion.
CREATE TABLE IF NOT EXISTS sales.orders (
    order_id bigint PRIMARY KEY,
    customer_id bigint NOT NULL,
    status text NOT NULL,
    amount numeric(12, 2) NOT NULL,
    currency text NOT NULL,
    placed_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz
);

COMMENT ON TABLE sales.orders IS 'One row per order, in its current state as of the checkpoint in ops.checkpoints';
COMMENT ON COLUMN sales.orders.updated_at IS 'When the transaction that changed it at the source began';
COMMENT ON COLUMN sales.orders.deleted_at IS
'When it was deleted at the source, or first found missing if the source does not say. Null: not deleted';

-- The first window is fixed once something has landed: changes before the first watermark are never extracted again.
INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step, due_after, max_lag, grid)
VALUES (
    'orders', 'incremental_data_processing', 'sales.orders',
    (current_setting('highwater.anchor')::date - 1)::timestamp AT TIME ZONE 'UTC',
    '1 hour', '15 minutes', '2 hours', 'watermark'
)
ON CONFLICT (dataset) DO UPDATE
    SET first_window = excluded.first_window
    WHERE datasets.first_window <> excluded.first_window
    AND 'orders' NOT IN (SELECT l.dataset FROM ops.window_ledger AS l);

INSERT INTO control.known_sources (source, holds) VALUES ('shop', 'orders as they change') ON CONFLICT (
    source
) DO NOTHING;

INSERT INTO control.sources (dataset, source) VALUES ('orders', 'shop') ON CONFLICT (dataset) DO NOTHING;
