-- One row: the day's orders at the partner, in the derived table, and as handed over by the stores. Null before the
-- partner's day has landed; the handovers also before the stores' day has.
WITH orders AS (
    SELECT
        order_id,
        product_code,
        amount
    FROM sales.partner_sales
    WHERE ordered_at >= %(window_start)s AND ordered_at < %(window_end)s
),

handovers AS (
    SELECT
        s.partner_order_id,
        s.amount,
        o.order_id,
        o.amount AS ordered_amount
    FROM sales.store_sales AS s
    LEFT JOIN orders AS o ON s.partner_order_id = o.order_id
    WHERE
        s.partner_order_id IS NOT NULL
        AND s.sold_at >= %(window_start)s AND s.sold_at < %(window_end)s
        AND EXISTS (SELECT FROM orders)
),

known_products AS (
    SELECT s.product_code FROM sales.store_sales AS s
    WHERE s.sold_at < %(window_end)s
    UNION
    SELECT u.product_code FROM sales.supplier_settlements AS u
    WHERE u.settled_from < %(window_end)s
)

SELECT
    p.order_count AS partner_orders,
    CASE WHEN p.order_count IS NOT NULL THEN c.order_count END AS partner_orders_found,
    p.amount AS partner_amount,
    CASE WHEN p.order_count IS NOT NULL THEN c.amount END AS partner_amount_found,
    p.products AS partner_products,
    p.products_known AS partner_products_known,
    h.handovers,
    h.orders_handed_over,
    h.handovers_known,
    h.ordered_amount,
    h.handed_amount,
    round(abs(h.ordered_amount - h.handed_amount), 2) AS handed_difference,
    round(h.ordered_amount * 0.01, 2) AS handed_tolerance
FROM (
    SELECT
        nullif(count(*), 0) AS order_count,
        sum(o.amount) AS amount,
        nullif(count(DISTINCT o.product_code), 0) AS products,
        CASE WHEN count(*) > 0 THEN count(DISTINCT k.product_code) END AS products_known
    FROM orders AS o
    LEFT JOIN known_products AS k ON o.product_code = k.product_code
) AS p
CROSS JOIN (
    SELECT
        count(*) AS order_count,
        coalesce(sum(amount), 0) AS amount
    FROM derived
    WHERE channel = 'partner'
) AS c
CROSS JOIN (
    SELECT
        nullif(count(*), 0) AS handovers,
        nullif(count(DISTINCT partner_order_id), 0) AS orders_handed_over,
        CASE WHEN count(*) > 0 THEN count(order_id) END AS handovers_known,
        sum(ordered_amount) AS ordered_amount,
        sum(amount) FILTER (WHERE order_id IS NOT NULL) AS handed_amount
    FROM handovers
) AS h;
