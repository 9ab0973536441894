-- One row: the number of orders of the derived day, and of distinct orders. A sale that hands over an order that counts
-- as the partner's, on any day, is the same order.
SELECT
    count(*) AS orders,
    count(DISTINCT CASE WHEN p.order_id IS NULL THEN c.channel || c.id ELSE 'partner' || p.order_id END)
    - count(*) FILTER (
        WHERE c.channel = 'store' AND p.order_id IS NOT NULL
        AND (p.ordered_at < %(window_start)s OR p.ordered_at >= %(window_end)s)
    ) AS orders_counted_once
FROM derived AS c
LEFT JOIN sales.store_sales AS s
    ON c.channel = 'store' AND c.id = s.sale_id AND c.sold_at = s.sold_at
LEFT JOIN sales.partner_sales AS p ON s.partner_order_id = p.order_id;
