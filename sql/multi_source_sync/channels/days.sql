-- One row per day to build: the run's own day (if it has landed, only with "again"), and each earlier day whose sources
-- changed since it was built. A day that the policy does not want, or that is missing while catch-up is off, is built
-- only by its own run; a held day by none. The basis names the content of each source by the start of its hash, so a
-- reload that changes nothing does not rebuild the day.
WITH days AS (
    SELECT tstzrange(edge.moment, edge.moment + d.step, '[)') AS window_range
    FROM control.datasets AS d
    CROSS JOIN LATERAL generate_series(d.first_window, %(window_start)s, d.step) AS edge (moment)
    WHERE d.dataset = 'channel_sales'
),

based AS (
    SELECT
        d.window_range,
        num_nonnulls(s.content_hash, p.content_hash) > 0 AS has_orders,
        concat_ws(
            ' ',
            'store ' || coalesce(left(s.content_hash, 12), '-'),
            'partner ' || coalesce(left(p.content_hash, 12), '-'),
            'supplier ' || coalesce(left(w.content_hash, 12), '-')
        ) AS basis
    FROM days AS d
    LEFT JOIN ops.window_ledger AS s ON d.window_range = s.window_range AND s.dataset = 'store_sales'
    LEFT JOIN ops.window_ledger AS p ON d.window_range = p.window_range AND p.dataset = 'partner_sales'
    LEFT JOIN ops.window_ledger AS w ON d.window_range <@ w.window_range AND w.dataset = 'supplier_settlements'
)

SELECT
    lower(b.window_range) AS window_start,
    upper(b.window_range) AS window_end,
    b.basis
FROM based AS b
LEFT JOIN ops.window_ledger AS c ON b.window_range = c.window_range AND c.dataset = 'channel_sales'
CROSS JOIN control.catchup_is_on('channel_sales') AS catchup
WHERE
    b.has_orders
    AND NOT EXISTS (
        SELECT FROM ops.held_windows AS h
        WHERE h.dataset = 'channel_sales' AND h.window_range = b.window_range
    )
    AND (
        (lower(b.window_range) = %(window_start)s AND (%(again)s OR c.version IS NULL))
        OR b.basis IS DISTINCT FROM c.source_snapshot
    )
    AND (
        lower(b.window_range) = %(window_start)s OR c.version IS NOT NULL
        OR (catchup.is_on AND NOT control.unwanted('channel_sales', ops.clock()) @> b.window_range)
    )
ORDER BY b.window_range;
