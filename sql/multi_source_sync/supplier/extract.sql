-- One row per day and product of the week, from its newest delivery.
SELECT
    settlement_id::bigint AS settlement_id,
    settled_on::timestamp AT TIME ZONE 'UTC' AS settled_from,
    product_code::text AS product_code,
    quantity::integer AS quantity,
    amount::numeric AS amount
FROM supplier.settlements
WHERE
    week = (%(window_start)s AT TIME ZONE 'UTC')::date
    AND delivery_no = (
        SELECT max(d.delivery_no) FROM supplier.deliveries AS d
        WHERE d.week = (%(window_start)s AT TIME ZONE 'UTC')::date
    );
