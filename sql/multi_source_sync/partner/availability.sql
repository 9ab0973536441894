-- One row once the partner lists the day. Compared with its own count the day may be short; orders that were sent again
-- are expected on top.
SELECT
    c.closed_at <= %(now)s AND o.order_count >= c.orders AS complete,
    c.orders + o.row_count - o.order_count AS expected_rows,
    CASE
        WHEN c.closed_at > %(now)s
            THEN 'the day closes at ' || to_char(c.closed_at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
        ELSE (c.orders - o.order_count) || ' of its ' || c.orders || ' orders are not there'
    END AS note
FROM partner.closed_days AS c
CROSS JOIN (
    SELECT
        count(*) AS row_count,
        count(DISTINCT order_id) AS order_count
    FROM partner.orders
    WHERE ordered_at >= %(window_start)s AND ordered_at < %(window_end)s
) AS o
WHERE c.day = (%(window_start)s AT TIME ZONE 'UTC')::date;
