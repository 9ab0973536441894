-- One row per sale of the shops' tills, cleaned; one partition per day.
CREATE TABLE IF NOT EXISTS sales.daily_sales (
    sale_id bigint NOT NULL,
    sold_at timestamptz NOT NULL,
    store_code text NOT NULL,
    till_no smallint NOT NULL,
    product_code text NOT NULL,
    quantity integer NOT NULL,
    unit_price numeric(10, 2) NOT NULL,
    discount numeric(10, 2) NOT NULL,
    revenue numeric(12, 2) NOT NULL,
    currency text NOT NULL,
    payment_method text NOT NULL,
    customer_id bigint,
    receipt_no text NOT NULL,
    PRIMARY KEY (sale_id, sold_at)
) PARTITION BY RANGE (sold_at);

COMMENT ON TABLE sales.daily_sales IS 'One row per sale; the landed days are in ops.window_ledger';
COMMENT ON COLUMN sales.daily_sales.revenue IS 'quantity × unit_price − discount, in currency';
COMMENT ON COLUMN sales.daily_sales.customer_id IS 'Empty for a sale without a customer card';

-- Bootstrap sets the anchor and the length of the history. A longer history becomes due; a shorter one that would leave
-- out landed days stops the start.
INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step, due_after, max_lag)
VALUES (
    'daily_sales', 'historical_sales_migration', 'sales.daily_sales',
    (
        current_setting('highwater.anchor')::date - current_setting('highwater.history_days')::integer
    )::timestamp AT TIME ZONE 'UTC',
    '24 hours', '2 hours', '30 hours'
)
ON CONFLICT (dataset) DO UPDATE
    SET first_window = excluded.first_window
    WHERE datasets.first_window <> excluded.first_window;
