-- One row per arrival of an order of the day; an order may arrive several times.
SELECT
    order_id::bigint AS order_id,
    ordered_at::timestamptz AS ordered_at,
    product_code::text AS product_code,
    quantity::integer AS quantity,
    amount::numeric AS amount,
    received_at::timestamptz AS received_at
FROM partner.orders
WHERE ordered_at >= %(window_start)s AND ordered_at < %(window_end)s;
