-- A simulated supplier that settles weekly. Grain of supplier.settlements: one day and product of one delivery. A
-- delivery holds the whole week; a correction is a delivery of the whole week with the next number.
-- Run as simulator in the database of the sources; idempotent.

CREATE SCHEMA IF NOT EXISTS supplier;

CREATE TABLE IF NOT EXISTS supplier.deliveries (
    week date NOT NULL CHECK (extract(ISODOW FROM week) = 1),
    delivery_no integer NOT NULL,
    delivered_at timestamptz NOT NULL,
    settlements integer NOT NULL,
    PRIMARY KEY (week, delivery_no)
);
COMMENT ON TABLE supplier.deliveries IS
'Deliveries of a week, named by its Monday; the one with the highest number is valid';

CREATE TABLE IF NOT EXISTS supplier.settlements (
    week date NOT NULL,
    delivery_no integer NOT NULL,
    settlement_id bigint NOT NULL,
    settled_on date NOT NULL,
    product_code text NOT NULL,
    quantity integer NOT NULL,
    amount numeric(14, 2) NOT NULL,
    PRIMARY KEY (week, delivery_no, settlement_id),
    FOREIGN KEY (week, delivery_no) REFERENCES supplier.deliveries
);

-- Deliver a week in the caller's transaction: the sums of store.sales, to the cent, or with every fiftieth settlement
-- three cents off. Returns the number of settlements, or null if the delivery exists.
CREATE OR REPLACE FUNCTION supplier.deliver(
    week date, delivery_no integer, delivered_at timestamptz, has_errors boolean
)
RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    made bigint;
BEGIN
    INSERT INTO supplier.deliveries VALUES (week, delivery_no, delivered_at, 0) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO supplier.settlements
    SELECT
        deliver.week,
        deliver.delivery_no,
        (deliver.week - '2000-01-03') / 7 * 1000000::bigint + d.n,
        d.settled_on,
        d.product_code,
        d.quantity,
        d.amount + CASE WHEN has_errors AND d.n % 50 = 0 THEN 0.03 ELSE 0 END
    FROM (
        SELECT
            row_number() OVER (
                ORDER BY (s.sold_at AT TIME ZONE 'UTC')::date, s.product_code COLLATE "C"
            ) AS n,
            (s.sold_at AT TIME ZONE 'UTC')::date AS settled_on,
            s.product_code,
            sum(s.quantity) AS quantity,
            sum(s.amount) AS amount
        FROM store.sales AS s
        WHERE s.sold_at >= deliver.week::timestamp AT TIME ZONE 'UTC'
            AND s.sold_at < (deliver.week + 7)::timestamp AT TIME ZONE 'UTC'
        GROUP BY 2, 3
    ) AS d;
    GET DIAGNOSTICS made = ROW_COUNT;
    UPDATE supplier.deliveries AS d SET settlements = made
    WHERE (d.week, d.delivery_no) = (deliver.week, deliver.delivery_no);
    RETURN made;
END;
$$;

GRANT USAGE ON SCHEMA supplier TO supplier_reader;
GRANT SELECT ON supplier.deliveries, supplier.settlements TO supplier_reader;
