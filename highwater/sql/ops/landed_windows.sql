-- One row per landed window of a dataset, or of all datasets, that overlaps a range; of a dataset that is loaded by its
-- changes only the newest, which represents the whole dataset. Those verified longest ago come first.
SELECT
    l.dataset,
    lower(l.window_range) AS window_start,
    upper(l.window_range) AS window_end,
    c.checked_at
FROM ops.window_ledger AS l
INNER JOIN control.datasets AS d ON l.dataset = d.dataset
LEFT JOIN ops.newest_content_checks AS c ON l.dataset = c.dataset AND l.window_range = c.window_range
WHERE
    (%(dataset)s::text IS NULL OR l.dataset = %(dataset)s)
    AND l.window_range && tstzrange(%(since)s, %(until)s)
    AND (
        d.grid = 'fixed'
        OR upper(l.window_range) = (
            SELECT max(upper(n.window_range)) FROM ops.window_ledger AS n
            WHERE n.dataset = l.dataset
        )
    )
ORDER BY c.checked_at ASC NULLS FIRST, l.dataset ASC, l.window_range ASC;
