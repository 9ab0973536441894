-- The simulated archive of a till system. Grain of legacy.sales: one line of a till receipt.
-- Run as simulator in the database of the sources; idempotent.

CREATE SCHEMA IF NOT EXISTS legacy;

-- No other constraint: like many old systems it accepts anything the tills send.
CREATE TABLE IF NOT EXISTS legacy.sales (
    business_date date NOT NULL,
    sale_id bigint,
    receipt_no text,
    store_code text,
    till_no smallint,
    product_code text,
    quantity integer,
    unit_price numeric(10, 2),
    discount numeric(10, 2),
    currency text,
    payment_method text,
    customer_id bigint,
    sold_at timestamptz
) PARTITION BY RANGE (business_date);

CREATE TABLE IF NOT EXISTS legacy.closed_days (
    business_date date PRIMARY KEY,
    row_count bigint NOT NULL,
    closed_at timestamptz NOT NULL
);
COMMENT ON TABLE legacy.closed_days IS
'A day is complete once closed_at has come; row_count is the till system''s own count of its rows.';

-- 40 stores with 8 tills each.
CREATE TABLE IF NOT EXISTS legacy.tills (
    till_id bigint PRIMARY KEY,
    store_code text NOT NULL,
    till_no smallint NOT NULL,
    receipt_series text NOT NULL,
    currency text NOT NULL
);

INSERT INTO legacy.tills (till_id, store_code, till_no, receipt_series, currency)
SELECT
    till_id,
    'S' || lpad((till_id / 8 + 1)::text, 3, '0') AS store_code,
    till_id % 8 + 1 AS till_no,
    'S' || lpad((till_id / 8 + 1)::text, 3, '0') || '-' || (till_id % 8 + 1)::text || '-' AS receipt_series,
    CASE WHEN till_id < 248 THEN 'EUR' WHEN till_id < 272 THEN 'USD' WHEN till_id < 296 THEN 'GBP' ELSE 'CHF' END
        AS currency
FROM generate_series(0, 319) AS numbers (till_id)
ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS legacy.products (
    product_no bigint PRIMARY KEY,
    product_code text NOT NULL,
    unit_price numeric(10, 2) NOT NULL
);

-- Prices run from 0.99 to 63.99, whatever the seed.
INSERT INTO legacy.products (product_no, product_code, unit_price)
SELECT
    product_no,
    'P' || lpad((product_no + 1)::text, 5, '0') AS product_code,
    (hashint8extended(product_no, 0) & 63) + 0.99 AS unit_price
FROM generate_series(0, 499) AS numbers (product_no)
ON CONFLICT DO NOTHING;

-- The hour of a sale out of 64 equal chances: weekdays are busy at noon and after work, weekends around midday.
CREATE OR REPLACE FUNCTION legacy.busy_hours(day date) RETURNS integer[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN extract(ISODOW FROM day) < 6
        THEN
            '{8,8,8,8,9,9,9,9,10,10,10,10,11,11,11,11,11,12,12,12,12,12,12,12,13,13,13,13,13,13,14,14,14,14,15,15,15,15,
            16,16,16,16,16,16,17,17,17,17,17,17,17,17,17,18,18,18,18,18,18,18,19,19,19,19}'::integer[]
    ELSE
        '{8,9,9,9,10,10,10,10,10,10,11,11,11,11,11,11,11,11,12,12,12,12,12,12,12,12,13,13,13,13,13,13,13,
        14,14,14,14,14,14,14,14,15,15,15,15,15,15,15,15,16,16,16,16,16,16,17,17,17,17,18,18,18,19,19}'::integer[]
END;

-- The rows of a day: a function of their number k (0, 1, …), the day and the seed alone, the same on every server. Each
-- defect occurs in one row of 3000; SLOTS in simulation/sales.py must match, and counts them.
-- OFFSET 0 keeps the planner from computing the hashes once per column.
CREATE OR REPLACE FUNCTION legacy.rows_of_day(day date, row_count integer, seed bigint)
RETURNS SETOF legacy.sales
LANGUAGE sql STABLE
AS $$
WITH numbered AS (
    SELECT generate_series(0, row_count - 1) AS k
),

marked AS (
    SELECT
        k,
        CASE
            WHEN k % 3000 <= 44 THEN CASE k % 3000
                WHEN 4 THEN 'null key'
                WHEN 8 THEN 'negative quantity'
                WHEN 12 THEN 'duplicate'
                WHEN 16 THEN 'conflicting duplicate'
                WHEN 20 THEN 'unknown currency'
                WHEN 24 THEN 'sold in the future'
                WHEN 28 THEN 'sold the day before'
                WHEN 32 THEN 'discount above amount'
                WHEN 36 THEN 'untidy store'
                WHEN 40 THEN 'untidy currency'
                WHEN 44 THEN 'untidy payment'
            END
        END AS defect
    FROM numbered
    OFFSET 0
),

-- A duplicate repeats the row before it; a conflicting duplicate repeats only its key.
numbers AS (
    SELECT
        defect,
        CASE WHEN defect = 'duplicate' THEN k - 1 ELSE k END AS line_no,
        CASE WHEN defect IN ('duplicate', 'conflicting duplicate') THEN k - 1 ELSE k END AS key_no
    FROM marked
),

drawn AS (
    SELECT
        defect,
        line_no,
        (day - '2000-01-01') * 16777216::bigint + key_no AS sale_id,
        hashint8extended(line_no, hashint8extended(day - '2000-01-01', seed)) AS dice,
        hashint8extended(line_no, ~hashint8extended(day - '2000-01-01', seed)) AS more_dice
    FROM numbers
    OFFSET 0
),

lines AS (
    SELECT
        drawn.defect,
        drawn.line_no,
        drawn.sale_id,
        tills.store_code,
        tills.till_no,
        tills.receipt_series,
        tills.currency,
        products.product_code,
        products.unit_price,
        CASE
            WHEN drawn.dice >> 32 & 63 < 40 THEN 1
            WHEN drawn.dice >> 32 & 63 < 55 THEN 2
            ELSE 3 + (drawn.dice >> 32 & 3)::integer
        END AS quantity,
        extract(EPOCH FROM day)::integer
        + 3600 * (legacy.busy_hours(day))[1 + (drawn.dice >> 38 & 63)::integer]
        + ((drawn.dice >> 44 & 65535) * 3600 >> 16)::integer AS sold_second,
        drawn.more_dice & 63 AS discount_dice,
        drawn.more_dice >> 6 & 127 AS payment_dice,
        CASE WHEN drawn.more_dice >> 13 & 3 > 0 THEN (drawn.more_dice >> 15 & 65535) + 1 END AS customer_id
    FROM drawn
    INNER JOIN legacy.tills ON tills.till_id = ((drawn.dice >> 16 & 65535) * 320 >> 16)
    INNER JOIN legacy.products ON products.product_no = ((drawn.dice & 65535) * 500 >> 16)
),

paid AS (
    SELECT
        *,
        CASE
            WHEN payment_dice < 70 THEN 'card'
            WHEN payment_dice < 108 THEN 'cash'
            WHEN payment_dice < 122 THEN 'mobile'
            ELSE 'voucher'
        END AS payment_method
    FROM lines
)

SELECT
    day AS business_date,
    CASE WHEN defect = 'null key' THEN NULL ELSE sale_id END AS sale_id,
    receipt_series || line_no AS receipt_no,
    CASE WHEN defect = 'untidy store' THEN ' ' || lower(store_code) || ' ' ELSE store_code END AS store_code,
    till_no,
    product_code,
    CASE WHEN defect = 'negative quantity' THEN -quantity ELSE quantity END AS quantity,
    unit_price,
    CASE
        WHEN defect = 'discount above amount' THEN quantity * unit_price + 1.00
        WHEN discount_dice < 6 THEN round(quantity * unit_price * 0.10, 2)
        WHEN discount_dice < 9 THEN round(quantity * unit_price * 0.20, 2)
        ELSE 0.00
    END::numeric(10, 2) AS discount,
    CASE defect WHEN 'unknown currency' THEN 'XXX' WHEN 'untidy currency' THEN lower(currency) ELSE currency END
        AS currency,
    CASE WHEN defect = 'untidy payment' THEN initcap(payment_method) || ' ' ELSE payment_method END AS payment_method,
    customer_id,
    -- a till whose clock is years ahead, or one that sent yesterday's sale today
    to_timestamp(
        sold_second
        + CASE defect WHEN 'sold in the future' THEN 4000 * 86400 WHEN 'sold the day before' THEN -86400 ELSE 0 END
    ) AS sold_at
FROM paid
$$;

-- Generate and close a day in the caller's transaction; returns its number of rows, or null if it exists. The partition
-- is filled before it is attached, so that neither readers nor calls for other days wait; CHECK spares ATTACH a scan.
CREATE OR REPLACE FUNCTION legacy.generate_day(day date, row_count integer, seed bigint, closed_at timestamptz)
RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    partition_name text := 'sales_' || to_char(day, 'YYYYMMDD');
    made bigint;
BEGIN
    -- Insert this row first: a concurrent call for the same day waits for it, and readers block neither.
    INSERT INTO legacy.closed_days VALUES (day, 0, closed_at) ON CONFLICT DO NOTHING;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    EXECUTE format('CREATE TABLE legacy.%I (LIKE legacy.sales, CHECK (business_date = %L))', partition_name, day);
    EXECUTE format('INSERT INTO legacy.%I SELECT * FROM legacy.rows_of_day($1, $2, $3)', partition_name)
        USING day, row_count, seed;
    GET DIAGNOSTICS made = ROW_COUNT;
    EXECUTE format(
        'ALTER TABLE legacy.sales ATTACH PARTITION legacy.%I FOR VALUES FROM (%L) TO (%L)', partition_name, day, day + 1
    );
    UPDATE legacy.closed_days AS c SET row_count = made WHERE c.business_date = day;
    RETURN made;
END;
$$;

GRANT USAGE ON SCHEMA legacy TO legacy_reader;
GRANT SELECT ON legacy.sales, legacy.closed_days TO legacy_reader;
