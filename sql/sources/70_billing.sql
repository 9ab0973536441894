-- A simulated billing system that delivers its payments in batches of six hours. Grain of billing.payments: one payment
-- of one batch. Run as simulator in the database of the sources; idempotent.

CREATE SCHEMA IF NOT EXISTS billing;

CREATE TABLE IF NOT EXISTS billing.payments (
    batch_start timestamptz NOT NULL,
    payment_id bigint NOT NULL,
    order_id bigint,
    paid_at timestamptz,
    amount numeric(12, 2),
    currency text,
    method text,
    status text
);

CREATE INDEX IF NOT EXISTS payments_by_batch ON billing.payments (batch_start);

CREATE TABLE IF NOT EXISTS billing.closed_batches (
    batch_start timestamptz PRIMARY KEY,
    row_count bigint NOT NULL,
    amount_total numeric(16, 2) NOT NULL,
    closed_at timestamptz NOT NULL
);

COMMENT ON TABLE billing.closed_batches IS
'A batch is complete once closed_at has come; row_count and amount_total are the billing system''s own counts.';

-- The payments of a batch: a function of their number k (0, 1, …), the batch and the seed alone. Of a hundred, one has
-- an amount of zero, one an unknown currency, one occurs twice; BILLING in simulation/batches.py must match. Payments
-- are for the shop's first orders, except the defective ones (7 and 13 of each 500).
CREATE OR REPLACE FUNCTION billing.payments_of(batch timestamptz, row_count integer, seed bigint, orders integer)
RETURNS SETOF billing.payments
LANGUAGE sql STABLE
AS $$
WITH numbered AS (
    SELECT
        k % 100 AS slot,
        CASE WHEN k % 100 = 5 THEN k - 1 ELSE k END AS line_no
    FROM generate_series(0, row_count - 1) AS numbers (k)
),

drawn AS (
    SELECT
        slot,
        line_no,
        hashint8extended(line_no, hashint8extended(extract(EPOCH FROM batch)::bigint, seed)) AS dice
    FROM numbered
    OFFSET 0
),

lines AS (
    SELECT
        slot,
        line_no,
        dice,
        1 + (dice >> 8 & 1048575) % greatest(orders, 1) AS order_id
    FROM drawn
)

SELECT
    batch AS batch_start,
    extract(EPOCH FROM batch)::bigint / 21600 * 1048576 + line_no AS payment_id,
    CASE WHEN orders > 0 THEN order_id - CASE WHEN order_id % 500 IN (7, 13) THEN 1 ELSE 0 END END AS order_id,
    batch + make_interval(secs => (dice >> 28 & 65535) * 21600.0 / 65536) AS paid_at,
    CASE WHEN slot = 2 THEN 0 ELSE ((dice >> 44 & 32767) + 99) / 100.0 END::numeric(12, 2) AS amount,
    CASE
        WHEN slot = 3 THEN 'XXX'
        WHEN dice >> 59 & 7 < 5 THEN 'EUR'
        WHEN dice >> 59 & 7 < 6 THEN 'USD'
        WHEN dice >> 59 & 7 < 7 THEN 'GBP'
        ELSE 'CHF'
    END AS currency,
    (ARRAY['card', 'card', 'transfer', 'wallet'])[1 + (dice & 3)] AS method,
    CASE WHEN dice >> 2 & 31 = 0 THEN 'refunded' ELSE 'captured' END AS status
FROM lines
$$;

-- Generate and close a batch in the caller's transaction; returns its number of rows, or null if it exists.
CREATE OR REPLACE FUNCTION billing.generate_batch(
    batch timestamptz, row_count integer, seed bigint, orders integer, closed_at timestamptz
) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    made bigint;
BEGIN
    -- Insert this row first: a concurrent call for the same batch waits for it, and readers block neither.
    INSERT INTO billing.closed_batches VALUES (batch, 0, 0, closed_at) ON CONFLICT DO NOTHING;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    INSERT INTO billing.payments SELECT * FROM billing.payments_of(batch, row_count, seed, orders);
    GET DIAGNOSTICS made = ROW_COUNT;
    UPDATE billing.closed_batches AS c
    SET
        row_count = made,
        amount_total = (SELECT coalesce(sum(p.amount), 0) FROM billing.payments AS p WHERE p.batch_start = batch)
    WHERE c.batch_start = batch;
    RETURN made;
END;
$$;

GRANT USAGE ON SCHEMA billing TO billing_reader;
GRANT SELECT ON billing.payments, billing.closed_batches TO billing_reader;
