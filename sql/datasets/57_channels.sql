-- The sales of the same days as the stores, a partner and a supplier record them, and the table derived from them.

CREATE TABLE IF NOT EXISTS sales.store_sales (
    sale_id bigint NOT NULL,
    sold_at timestamptz NOT NULL,
    store_code text NOT NULL,
    product_code text NOT NULL,
    quantity integer NOT NULL,
    amount numeric(12, 2) NOT NULL,
    partner_order_id bigint,
    PRIMARY KEY (sale_id, sold_at)
) PARTITION BY RANGE (sold_at);

COMMENT ON TABLE sales.store_sales IS 'One row per sale in a store; one partition per day';
COMMENT ON COLUMN sales.store_sales.partner_order_id IS 'The partner''s order that this sale hands over, if it is one';

CREATE TABLE IF NOT EXISTS sales.partner_sales (
    order_id bigint NOT NULL,
    ordered_at timestamptz NOT NULL,
    product_code text NOT NULL,
    quantity integer NOT NULL,
    amount numeric(12, 2) NOT NULL,
    PRIMARY KEY (order_id, ordered_at)
) PARTITION BY RANGE (ordered_at);

COMMENT ON TABLE sales.partner_sales IS 'One row per order placed with the partner; one partition per day';

CREATE TABLE IF NOT EXISTS sales.supplier_settlements (
    settlement_id bigint NOT NULL,
    settled_from timestamptz NOT NULL,
    product_code text NOT NULL,
    quantity integer NOT NULL,
    amount numeric(14, 2) NOT NULL,
    PRIMARY KEY (settlement_id, settled_from)
) PARTITION BY RANGE (settled_from);

COMMENT ON TABLE sales.supplier_settlements IS
'One row per day and product sold by the stores, as the supplier settles it; one partition per week';
COMMENT ON COLUMN sales.supplier_settlements.settled_from IS 'The start of the settled day, at midnight UTC';

CREATE TABLE IF NOT EXISTS sales.channel_sales (
    id bigint NOT NULL,
    sold_at timestamptz NOT NULL,
    channel text NOT NULL,
    product_code text NOT NULL,
    quantity integer NOT NULL,
    amount numeric(12, 2) NOT NULL,
    rests_on_store boolean NOT NULL,
    rests_on_partner boolean NOT NULL,
    rests_on_supplier boolean NOT NULL,
    PRIMARY KEY (channel, id, sold_at)
) PARTITION BY RANGE (sold_at);

COMMENT ON TABLE sales.channel_sales IS 'One row per order, in the one channel it counts in; one partition per day';
COMMENT ON COLUMN sales.channel_sales.id IS 'The order''s number in its channel: the sale''s or the partner''s';
COMMENT ON COLUMN sales.channel_sales.channel IS
'An order of the partner that a store handed over counts as the partner''s, unless the partner''s day has not landed';
COMMENT ON COLUMN sales.channel_sales.rests_on_partner IS
'Whether the partner''s day had landed when this day was built';

-- A longer history becomes due; a shorter one that would leave out landed windows stops the start. A week begins on a
-- Monday and is settled four days after its end.
INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step, due_after, max_lag, fills_gaps)
SELECT
    d.dataset,
    'multi_source_sync' AS dag_id,
    'sales.' || d.dataset AS published_table,
    d.first_day::timestamp AT TIME ZONE 'UTC' AS first_window,
    d.step,
    d.due_after,
    d.max_lag,
    TRUE AS fills_gaps
FROM (
    SELECT current_setting('highwater.anchor')::date - current_setting('highwater.channel_days')::integer AS first_day
) AS begun
CROSS JOIN
    LATERAL (
        VALUES
        ('store_sales', begun.first_day, '24 hours'::interval, '0'::interval, '30 hours'::interval),
        ('partner_sales', begun.first_day, '24 hours', '0', NULL),
        (
            'supplier_settlements', begun.first_day + (8 - extract(ISODOW FROM begun.first_day)::integer) % 7,
            '168 hours', '96 hours', '12 days'
        ),
        ('channel_sales', begun.first_day, '24 hours', '0', '30 hours')
    ) AS d (dataset, first_day, step, due_after, max_lag)
ON CONFLICT (dataset) DO UPDATE
    SET first_window = excluded.first_window
    WHERE datasets.first_window <> excluded.first_window;

UPDATE control.datasets SET fills_gaps = TRUE
WHERE dag_id = 'multi_source_sync' AND NOT fills_gaps;

INSERT INTO control.known_sources (source, holds)
VALUES
('store', 'the sales of the stores, a day at a time'),
('partner', 'the orders of the partner, a day at a time'),
('supplier', 'the settlements of the supplier, a week at a time')
ON CONFLICT (source) DO NOTHING;

INSERT INTO control.sources (dataset, source, strategy, catch_up)
VALUES
('store_sales', 'store', 'windows', 'all'),
('partner_sales', 'partner', 'windows', 'reliable'),
('supplier_settlements', 'supplier', 'windows', 'all')
ON CONFLICT (dataset) DO NOTHING;
