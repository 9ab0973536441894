-- One row per sale of the day. The source rejects values that do not fit the casts.
SELECT
    sale_id::bigint AS sale_id,
    sold_at::timestamptz AS sold_at,
    store_code::text AS store_code,
    product_code::text AS product_code,
    quantity::integer AS quantity,
    amount::numeric AS amount,
    partner_order_id::bigint AS partner_order_id
FROM store.sales
WHERE sold_at >= %(window_start)s AND sold_at < %(window_end)s;
