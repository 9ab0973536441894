-- The stores' own simulated system. Grain of store.sales: one sale in a store. It is always available and complete.
-- Run as simulator in the database of the sources; idempotent.

CREATE SCHEMA IF NOT EXISTS store;

CREATE TABLE IF NOT EXISTS store.sales (
    sale_id bigint PRIMARY KEY,
    sold_at timestamptz NOT NULL,
    store_code text NOT NULL,
    product_code text NOT NULL,
    quantity integer NOT NULL,
    amount numeric(12, 2) NOT NULL,
    partner_order_id bigint
);
COMMENT ON COLUMN store.sales.partner_order_id IS 'The partner''s order that this sale hands over, if it is one';

CREATE INDEX IF NOT EXISTS sales_by_time ON store.sales (sold_at);

CREATE TABLE IF NOT EXISTS store.closed_days (
    day date PRIMARY KEY,
    closed_at timestamptz NOT NULL,
    sales integer NOT NULL
);
COMMENT ON TABLE store.closed_days IS 'A day is complete once closed_at has come; sales is the system''s own count';

-- The sales of a day: a function of their number k (0, 1, …), the day and the seed alone. The first ones hand over the
-- even orders of the partner's day (a fifth of sales_count) unchanged; one in fifty costs 0.50 more.
CREATE OR REPLACE FUNCTION store.rows_of_day(day date, sales_count integer, seed bigint)
RETURNS SETOF store.sales
LANGUAGE sql STABLE
AS $$
WITH ordered AS (
    SELECT (order_id & 16777215) / 2 AS k, order_id, ordered_at, product_code, quantity, amount
    FROM partner.rows_of_day(day, sales_count / 5, seed)
    WHERE order_id & 1 = 0
),

drawn AS (
    SELECT
        k,
        hashint8extended(k, hashint8extended(day - '2000-01-01', hashtextextended('store', seed))) AS dice
    FROM generate_series(0, sales_count - 1) AS k
    OFFSET 0
),

sales AS (
    SELECT
        drawn.k,
        drawn.dice,
        products.product_code,
        products.unit_price,
        CASE
            WHEN drawn.dice >> 16 & 63 < 40 THEN 1
            WHEN drawn.dice >> 16 & 63 < 55 THEN 2
            ELSE 3 + (drawn.dice >> 16 & 3)::integer
        END AS quantity
    FROM drawn
    INNER JOIN legacy.products ON products.product_no = ((drawn.dice & 65535) * 200 >> 16)
)

SELECT
    (day - '2000-01-01') * 16777216::bigint + sales.k AS sale_id,
    coalesce(
        -- handed over half an hour after it was ordered, or up to 68 minutes later
        ordered.ordered_at + '30 minutes'::interval + (sales.dice >> 22 & 4095) * '1 second'::interval,
        -- from 08:00 to 21:00
        to_timestamp(extract(EPOCH FROM day)::integer + 28800 + ((sales.dice >> 22 & 65535) * 46800 >> 16)::integer)
    ) AS sold_at,
    'S' || lpad((1 + ((sales.dice >> 38 & 65535) * 20 >> 16))::text, 3, '0') AS store_code,
    coalesce(ordered.product_code, sales.product_code) AS product_code,
    coalesce(ordered.quantity, sales.quantity) AS quantity,
    coalesce(
        ordered.amount + CASE WHEN ordered.k % 50 = 25 THEN 0.50 ELSE 0 END,
        round(sales.quantity * sales.unit_price * CASE WHEN sales.dice >> 54 & 7 = 0 THEN 0.90 ELSE 1 END, 2)
    )::numeric(12, 2) AS amount,
    ordered.order_id AS partner_order_id
FROM sales
LEFT JOIN ordered ON sales.k = ordered.k
$$;

-- Generate and close a day in the caller's transaction; returns its number of sales, or null if it exists.
CREATE OR REPLACE FUNCTION store.generate_day(day date, sales_count integer, seed bigint, closed_at timestamptz)
RETURNS bigint
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO store.closed_days VALUES (day, closed_at, sales_count) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO store.sales SELECT * FROM store.rows_of_day(day, sales_count, seed);
    RETURN sales_count;
END;
$$;

GRANT USAGE ON SCHEMA store TO store_reader;
GRANT SELECT ON store.sales, store.closed_days TO store_reader;
