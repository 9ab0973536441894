-- One row: the day's totals as the supplier settles them and as the stores sold, overall and by product. Null before
-- both have landed.
WITH landed AS (
    SELECT count(DISTINCT l.dataset) = 2 AS are_both
    FROM ops.window_ledger AS l
    WHERE
        l.dataset IN ('store_sales', 'supplier_settlements')
        AND l.window_range @> tstzrange(%(window_start)s, %(window_end)s, '[)')
),

settled AS (
    SELECT
        product_code,
        sum(quantity) AS quantity,
        sum(amount) AS amount
    FROM sales.supplier_settlements
    WHERE settled_from >= %(window_start)s AND settled_from < %(window_end)s
    GROUP BY product_code
),

sold AS (
    SELECT
        product_code,
        sum(quantity) AS quantity,
        sum(amount) AS amount
    FROM sales.store_sales
    WHERE sold_at >= %(window_start)s AND sold_at < %(window_end)s
    GROUP BY product_code
)

SELECT
    CASE WHEN l.are_both THEN coalesce(sum(settled.amount), 0) END AS settled_amount,
    CASE WHEN l.are_both THEN coalesce(sum(sold.amount), 0) END AS sold_amount,
    CASE WHEN l.are_both THEN count(settled.product_code) END AS settled_products,
    CASE WHEN l.are_both THEN count(settled.product_code) FILTER (WHERE sold.product_code IS NOT NULL) END
        AS settled_products_sold,
    CASE WHEN l.are_both THEN count(coalesce(settled.product_code, sold.product_code)) END AS products,
    CASE
        WHEN l.are_both
            THEN count(*) FILTER (WHERE settled.amount = sold.amount AND settled.quantity = sold.quantity)
    END AS products_that_agree
FROM landed AS l
LEFT JOIN (settled FULL JOIN sold ON settled.product_code = sold.product_code) ON TRUE
GROUP BY l.are_both;
