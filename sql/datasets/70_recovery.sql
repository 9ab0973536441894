-- The datasets of system_recovery_processing. Run as publisher; idempotent.

-- One row per payment, cleaned; one partition per window of six hours.
CREATE TABLE IF NOT EXISTS sales.payments (
    payment_id bigint NOT NULL,
    order_id bigint,
    paid_at timestamptz NOT NULL,
    amount numeric(12, 2) NOT NULL,
    currency text NOT NULL,
    method text NOT NULL,
    status text NOT NULL,
    PRIMARY KEY (payment_id, paid_at)
) PARTITION BY RANGE (paid_at);

COMMENT ON TABLE sales.payments IS 'One row per payment; the landed windows are in ops.window_ledger';
COMMENT ON COLUMN sales.payments.order_id IS
'The order in sales.orders, once that has landed; empty for a payment without an order';

-- One row per page view, cleaned; one partition per window of six hours.
CREATE TABLE IF NOT EXISTS sales.page_views (
    view_id bigint NOT NULL,
    session_id text NOT NULL,
    viewed_at timestamptz NOT NULL,
    path text NOT NULL,
    device text NOT NULL,
    seconds_on_page integer NOT NULL,
    PRIMARY KEY (view_id, viewed_at)
) PARTITION BY RANGE (viewed_at);

COMMENT ON TABLE sales.page_views IS 'One row per page view; the landed windows are in ops.window_ledger';

-- A dataset with landed windows keeps its first window when the anchor moves.
INSERT INTO control.datasets (
    dataset, dag_id, published_table, first_window, step, due_after, critical, max_lag, fills_gaps
)
SELECT
    d.dataset,
    'system_recovery_processing' AS dag_id,
    'sales.' || d.dataset AS published_table,
    (current_setting('highwater.anchor')::date - 3)::timestamp AT TIME ZONE 'UTC' AS first_window,
    '6 hours' AS step,
    '15 minutes' AS due_after,
    d.critical,
    d.max_lag,
    TRUE AS fills_gaps
FROM (VALUES ('payments', TRUE, '8 hours'::interval), ('page_views', FALSE, '14 hours'::interval))
    AS d (dataset, critical, max_lag)
ON CONFLICT (dataset) DO UPDATE
    SET first_window = excluded.first_window
    WHERE datasets.first_window <> excluded.first_window
    AND datasets.dataset NOT IN (SELECT l.dataset FROM ops.window_ledger AS l);

UPDATE control.datasets SET fills_gaps = TRUE
WHERE dag_id = 'system_recovery_processing' AND NOT fills_gaps;
