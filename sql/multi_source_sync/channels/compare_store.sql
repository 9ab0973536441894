-- One row: the day's sales at the stores, and as found in the derived table: as sales of the stores, or as handovers of
-- orders that count as the partner's. Null before the stores' day has landed.
SELECT
    nullif(s.sale_count, 0) AS store_sales,
    CASE WHEN s.sale_count > 0 THEN s.handed_count + c.sale_count END AS store_sales_found,
    s.amount AS store_amount,
    CASE WHEN s.sale_count > 0 THEN s.handed_amount + c.amount END AS store_amount_found
FROM (
    SELECT
        count(*) AS sale_count,
        sum(sales.amount) AS amount,
        count(*) FILTER (WHERE o.id IS NOT NULL) AS handed_count,
        coalesce(sum(sales.amount) FILTER (WHERE o.id IS NOT NULL), 0) AS handed_amount
    FROM sales.store_sales AS sales
    LEFT JOIN derived AS o ON sales.partner_order_id = o.id AND o.channel = 'partner'
    WHERE sales.sold_at >= %(window_start)s AND sales.sold_at < %(window_end)s
) AS s
CROSS JOIN (
    SELECT
        count(*) AS sale_count,
        coalesce(sum(amount), 0) AS amount
    FROM derived
    WHERE channel = 'store'
) AS c;
