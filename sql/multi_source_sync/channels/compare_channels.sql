-- One row: the orders of the synchronised day, and how many different ones they are: a sale that hands over an order
-- that counts as the partner's, on whatever day, is that order again.
SELECT
    count(*) AS orders,
    count(DISTINCT CASE WHEN p.order_id IS NULL THEN c.channel || c.id ELSE 'partner' || p.order_id END)
    - count(*) FILTER (
        WHERE c.channel = 'store' AND p.order_id IS NOT NULL
        AND (p.ordered_at < %(window_start)s OR p.ordered_at >= %(window_end)s)
    ) AS orders_counted_once
FROM channel AS c
LEFT JOIN sales.store_sales AS s
    ON c.channel = 'store' AND c.id = s.sale_id AND c.sold_at = s.sold_at
LEFT JOIN sales.partner_sales AS p ON s.partner_order_id = p.order_id;
