-- One row per landed window of the dataset that ends after a moment, with its partition.
SELECT
    l.window_range,
    i.inhrelid::regclass::text AS partition_name
FROM ops.window_ledger AS l
INNER JOIN control.datasets AS d ON l.dataset = d.dataset
INNER JOIN pg_catalog.pg_inherits AS i ON i.inhparent = d.published_table::regclass AND NOT i.inhdetachpending
INNER JOIN pg_catalog.pg_class AS c ON i.inhrelid = c.oid
WHERE
    l.dataset = %(dataset)s AND upper(l.window_range) > %(since)s
    AND pg_get_expr(c.relpartbound, c.oid) = format(
        'FOR VALUES FROM (%%L) TO (%%L)', lower(l.window_range), upper(l.window_range)
    )
ORDER BY l.window_range;
