-- One row per window: the newest that have begun and the next ones, with the state and the policy's verdict of each.
WITH wanted AS (
    SELECT
        d,
        d.dataset,
        make_interval(secs => extract(EPOCH FROM d.step)) AS step,
        -- The start of the first window that has not begun.
        d.first_window + make_interval(secs => extract(EPOCH FROM d.step) * greatest(0, 1 + floor(
            extract(EPOCH FROM ops.clock() - d.first_window) / extract(EPOCH FROM d.step)
        ))) AS next_start,
        catchup.is_on,
        catchup.reason AS off_because
    FROM control.datasets AS d
    CROSS JOIN LATERAL control.catchup_is_on(d.dataset) AS catchup
    WHERE d.dataset = %(dataset)s
),

begun AS (
    SELECT
        w.window_range,
        w.state,
        w.reason
    FROM wanted AS n
    CROSS JOIN LATERAL ops.windows_between(n.dataset, n.next_start - %(last)s * n.step, n.next_start) AS w
),

coming AS (
    SELECT
        tstzrange(edge.moment, edge.moment + n.step) AS window_range,
        'to come' AS state,
        NULL AS reason
    FROM wanted AS n
    CROSS JOIN LATERAL generate_series(n.next_start, n.next_start + (%(next)s - 1) * n.step, n.step) AS edge (moment)
)

SELECT
    lower(e.window_range) AS window_start,
    upper(e.window_range) AS window_end,
    e.state,
    CASE
        WHEN v.rule IS NOT NULL THEN 'not wanted: ' || v.rule
        WHEN n.is_on OR e.state <> 'missing' OR upper(e.window_range) >= control.due_until(n.d, ops.clock())
            THEN 'wanted'
        ELSE 'wanted, not loaded automatically'
    END AS verdict,
    coalesce(v.reason, e.reason, '') AS reason
FROM (
    SELECT * FROM begun
    UNION ALL
    SELECT * FROM coming
) AS e
CROSS JOIN wanted AS n
CROSS JOIN LATERAL control.policy_verdict(n.dataset, e.window_range, ops.clock()) AS v
ORDER BY window_start;
