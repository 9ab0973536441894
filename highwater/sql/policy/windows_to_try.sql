-- One row per stopped dataset that is due for a test whether it works again, with the window to try: the first that
-- failed. Left out are datasets with a backfill that will do the test, paused or not, and those whose catch-up is off.
SELECT
    b.dataset,
    b.reason,
    lower(tried.ranges) AS from_time,
    lower(tried.ranges) + make_interval(secs => extract(EPOCH FROM d.step)) AS to_time
FROM ops.breakers AS b
INNER JOIN control.datasets AS d ON b.dataset = d.dataset
CROSS JOIN LATERAL control.catchup_is_on(b.dataset) AS catchup
CROSS JOIN LATERAL ops.window_states(b.dataset) AS w
CROSS JOIN
    LATERAL (
        SELECT coalesce(nullif(w.failed * w.due, '{}'), w.missing) AS ranges
    ) AS tried
WHERE
    b.closed_at IS NULL
    AND d.grid = 'fixed'
    AND catchup.is_on
    AND ops.let_one_through(b.dataset, FALSE)
    AND NOT isempty(tried.ranges)
    AND NOT EXISTS (
        SELECT FROM control.backfills AS k
        WHERE
            k.dataset = b.dataset
            AND (k.state IN ('requested', 'running') OR (k.state = 'paused' AND k.held_by = 'policy'))
    )
ORDER BY b.dataset;
