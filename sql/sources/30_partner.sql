-- A simulated sales partner. Grain of partner.orders: one arrival of one order, so an order may occur several times.
-- Run as simulator in the database of the sources; idempotent.

CREATE SCHEMA IF NOT EXISTS partner;

-- No key: the partner sends old orders again, with the same values and a later received_at.
CREATE TABLE IF NOT EXISTS partner.orders (
    order_id bigint NOT NULL,
    ordered_at timestamptz NOT NULL,
    product_code text NOT NULL,
    quantity integer NOT NULL,
    amount numeric(12, 2) NOT NULL,
    received_at timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS orders_by_time ON partner.orders (ordered_at);

CREATE TABLE IF NOT EXISTS partner.closed_days (
    day date PRIMARY KEY,
    closed_at timestamptz NOT NULL,
    orders integer NOT NULL
);
COMMENT ON TABLE partner.closed_days IS
'orders is the partner''s own count of distinct orders; a short day holds fewer, and some days are missing';

-- The rest is internal to the simulation: readers have no access.

CREATE TABLE IF NOT EXISTS partner.made_days (
    day date PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('usual', 'missing', 'short', 'late')),
    order_count integer NOT NULL,
    seed bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS partner.resends (
    day date NOT NULL,
    sent_at timestamptz NOT NULL,
    reason text NOT NULL,
    orders integer NOT NULL,
    PRIMARY KEY (day, sent_at, reason)
);
COMMENT ON TABLE partner.resends IS 'Later deliveries, one row each: the rest of a late day, or duplicates';

CREATE TABLE IF NOT EXISTS partner.outages (
    started_at timestamptz PRIMARY KEY,
    ended_at timestamptz NOT NULL,
    reason text NOT NULL,
    stopped_by text,
    CHECK (started_at <= ended_at)
);
COMMENT ON TABLE partner.outages IS 'The scheduled outages that have begun; ended_at may be in the future';

-- The orders of a day as they first arrive: a function of their number k (0, 1, …), the day and the seed alone. Even
-- ones are handed over in a store the same day, so they are placed early enough for that. There are no orders after
-- 22:30. OFFSET 0 keeps the planner from computing the hashes once per column.
CREATE OR REPLACE FUNCTION partner.rows_of_day(day date, order_count integer, seed bigint)
RETURNS SETOF partner.orders
LANGUAGE sql STABLE
AS $$
WITH drawn AS (
    SELECT
        k,
        hashint8extended(k, hashint8extended(day - '2000-01-01', hashtextextended('partner', seed))) AS dice
    FROM generate_series(0, order_count - 1) AS k
    OFFSET 0
),

orders AS (
    SELECT
        drawn.k,
        drawn.dice,
        products.product_code,
        products.unit_price,
        CASE
            WHEN drawn.dice >> 16 & 63 < 40 THEN 1
            WHEN drawn.dice >> 16 & 63 < 55 THEN 2
            ELSE 3 + (drawn.dice >> 16 & 3)::integer
        END AS quantity,
        extract(EPOCH FROM day)::integer + CASE
            WHEN drawn.k % 2 = 0 THEN 21600 + ((drawn.dice >> 22 & 65535) * 46800 >> 16)::integer
            ELSE ((drawn.dice >> 22 & 65535) * 81000 >> 16)::integer
        END AS second
    FROM drawn
    INNER JOIN legacy.products ON products.product_no = ((drawn.dice & 65535) * 200 >> 16)
)

SELECT
    (day - '2000-01-01') * 16777216::bigint + k AS order_id,
    to_timestamp(second) AS ordered_at,
    product_code,
    quantity,
    round(quantity * unit_price * CASE WHEN dice >> 38 & 7 = 0 THEN 0.90 ELSE 1 END, 2)::numeric(12, 2) AS amount,
    to_timestamp(second + 1 + (dice >> 41 & 63)) AS received_at
FROM orders
$$;

-- Whether the order is in the tenth that is missing on a short day.
CREATE OR REPLACE FUNCTION partner.is_held_back(order_id bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (order_id & 16777215) % 10 = 4;

-- Generate a day of a kind in the caller's transaction; returns its number of orders, or null if it exists.
CREATE OR REPLACE FUNCTION partner.generate_day(
    day date, order_count integer, seed bigint, kind text, closed_at timestamptz
)
RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    made bigint := 0;
BEGIN
    INSERT INTO partner.made_days VALUES (day, kind, order_count, seed) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF kind <> 'missing' THEN
        INSERT INTO partner.orders
        SELECT * FROM partner.rows_of_day(day, order_count, seed) AS o
        WHERE kind = 'usual' OR NOT partner.is_held_back(o.order_id);
        GET DIAGNOSTICS made = ROW_COUNT;
        INSERT INTO partner.closed_days VALUES (day, closed_at, order_count);
    END IF;
    RETURN made;
END;
$$;

-- Send the rest of a late day; returns the number of orders. The key of partner.resends rejects a second call.
CREATE OR REPLACE FUNCTION partner.send_rest(day date, sent_at timestamptz) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    sent bigint;
BEGIN
    INSERT INTO partner.orders
    SELECT o.order_id, o.ordered_at, o.product_code, o.quantity, o.amount, send_rest.sent_at
    FROM partner.made_days AS m, partner.rows_of_day(m.day, m.order_count, m.seed) AS o
    WHERE m.day = send_rest.day AND partner.is_held_back(o.order_id);
    GET DIAGNOSTICS sent = ROW_COUNT;
    INSERT INTO partner.resends VALUES (day, sent_at, 'the rest', sent);
    RETURN sent;
END;
$$;

-- Send one in one_in orders of a day again, those whose number has the remainder slot; returns their number. The key of
-- partner.resends rejects a second call.
CREATE OR REPLACE FUNCTION partner.send_again(
    day date, one_in integer, slot integer, sent_at timestamptz, reason text
)
RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    sent bigint;
BEGIN
    INSERT INTO partner.orders
    SELECT DISTINCT ON (o.order_id)
        o.order_id, o.ordered_at, o.product_code, o.quantity, o.amount, send_again.sent_at
    FROM partner.orders AS o
    WHERE o.ordered_at >= send_again.day::timestamp AT TIME ZONE 'UTC'
        AND o.ordered_at < (send_again.day + 1)::timestamp AT TIME ZONE 'UTC'
        AND (o.order_id & 16777215) % one_in = slot
    ORDER BY o.order_id, o.received_at;
    GET DIAGNOSTICS sent = ROW_COUNT;
    INSERT INTO partner.resends VALUES (day, sent_at, reason, sent);
    RETURN sent;
END;
$$;

-- The outages that begin on the days from first_day to last_day: three of four spells of six days have one, in the
-- evening of one of their first four days, for 6, 12, 30 or 54 hours. So each covers a midnight, and none overlaps.
CREATE OR REPLACE FUNCTION partner.scheduled_outages(first_day date, last_day date, seed bigint)
RETURNS TABLE (started_at timestamptz, ended_at timestamptz, reason text)
LANGUAGE sql STABLE
AS $$
WITH spells AS (
    SELECT spell, hashint8extended(spell, hashtextextended('outages of the partner', seed)) AS dice
    FROM generate_series((first_day - '2000-01-01') / 6, (last_day - '2000-01-01') / 6) AS spell
),

outages AS (
    SELECT
        ('2000-01-01'::date + (spell * 6 + (dice >> 2 & 3))::integer)::timestamp AT TIME ZONE 'UTC'
        + '21 hours'::interval + (dice >> 4 & 63) * '1 minute'::interval AS started_at,
        ('{6,12,30,54}'::integer[])[1 + (dice >> 10 & 3)] AS hours
    FROM spells
    WHERE dice & 3 > 0
)

SELECT
    started_at,
    started_at + hours * '1 hour'::interval AS ended_at,
    'by the schedule: ' || hours || ' hours' AS reason
FROM outages
WHERE started_at >= first_day::timestamp AT TIME ZONE 'UTC' AND started_at < (last_day + 1)::timestamp AT TIME ZONE 'UTC'
$$;

GRANT USAGE ON SCHEMA partner TO partner_reader;
GRANT SELECT ON partner.orders, partner.closed_days TO partner_reader;
