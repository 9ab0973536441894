-- One row per sale of the stores and per order of the partner, with the sources that had landed. A sale that hands over
-- an order that the partner has too is a copy, under the order's key.
WITH basis AS (
    SELECT
        count(*) FILTER (WHERE l.dataset = 'store_sales') > 0 AS rests_on_store,
        count(*) FILTER (WHERE l.dataset = 'partner_sales') > 0 AS rests_on_partner,
        count(*) FILTER (WHERE l.dataset = 'supplier_settlements') > 0 AS rests_on_supplier
    FROM ops.window_ledger AS l
    WHERE
        l.dataset IN ('store_sales', 'partner_sales', 'supplier_settlements')
        AND l.window_range @> tstzrange(%(window_start)s, %(window_end)s, '[)')
),

orders AS (
    SELECT
        coalesce(p.order_id, s.sale_id) AS id,
        coalesce(p.ordered_at, s.sold_at) AS sold_at,
        CASE WHEN p.order_id IS NULL THEN 'store' ELSE 'partner' END AS channel,
        s.product_code,
        s.quantity,
        s.amount,
        CASE WHEN p.order_id IS NULL THEN 1 ELSE 2 END AS copy_no
    FROM sales.store_sales AS s
    LEFT JOIN sales.partner_sales AS p
        ON
            s.partner_order_id = p.order_id
            AND p.ordered_at >= %(window_start)s AND p.ordered_at < %(window_end)s
    WHERE s.sold_at >= %(window_start)s AND s.sold_at < %(window_end)s
    UNION ALL
    SELECT
        p.order_id AS id,
        p.ordered_at AS sold_at,
        'partner' AS channel,
        p.product_code,
        p.quantity,
        p.amount,
        1 AS copy_no
    FROM sales.partner_sales AS p
    WHERE p.ordered_at >= %(window_start)s AND p.ordered_at < %(window_end)s
)

SELECT
    o.*,
    b.rests_on_store,
    b.rests_on_partner,
    b.rests_on_supplier
FROM orders AS o
CROSS JOIN basis AS b;
