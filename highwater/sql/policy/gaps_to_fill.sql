-- One row per range of windows that are wanted, that the schedule has passed, and that were never tried or requested.
-- Within a range every other window has landed. A dataset whose own runs fill its gaps has none, nor has one whose
-- catch-up is off. Windows that were tried and failed are left out: they wait for a person. So are those that live runs
-- may land, by dataset in %(live)s.
WITH frontiers AS (
    SELECT
        d,
        d.dataset,
        d.dag_id,
        newest.frontier
    FROM control.datasets AS d
    CROSS JOIN LATERAL control.catchup_is_on(d.dataset) AS catchup
    CROSS JOIN
        LATERAL (
            SELECT lower(a.window_range) AS frontier
            FROM ops.attempts AS a
            WHERE a.dataset = d.dataset AND a.dag_id = d.dag_id AND a.run_id ~ '^(scheduled|backfill)__'
            ORDER BY lower(a.window_range) DESC
            LIMIT 1
        ) AS newest
    WHERE d.grid = 'fixed' AND NOT d.fills_gaps AND catchup.is_on
),

open_windows AS (
    SELECT
        f.*,
        w.missing + (w.running + w.failed) * w.due AS not_landed,
        w.missing * tstzmultirange(tstzrange(NULL, control.window_at_or_after(f.d, f.frontier)))
        - requested.windows - coalesce((%(live)s::jsonb ->> f.dataset)::tstzmultirange, '{}'::tstzmultirange) AS lost
    FROM frontiers AS f
    CROSS JOIN LATERAL ops.window_states(f.dataset) AS w
    CROSS JOIN
        LATERAL (
            SELECT coalesce(range_agg(b.window_range), '{}'::tstzmultirange) AS windows
            FROM control.backfill_windows AS b
            INNER JOIN control.backfills AS k USING (backfill_id)
            WHERE
                k.dataset = f.dataset AND b.action = 'load'
                AND (k.via = 'policy' OR k.state IN ('requested', 'running', 'paused', 'stopped'))
        ) AS requested
),

pieces AS (
    SELECT
        o.d,
        o.dataset,
        o.dag_id,
        o.frontier,
        p.piece,
        p.is_lost,
        count(*) FILTER (WHERE NOT p.is_lost) OVER (PARTITION BY o.dataset ORDER BY p.piece) AS range_no
    FROM open_windows AS o
    CROSS JOIN
        LATERAL (
            SELECT
                l.piece,
                TRUE AS is_lost
            FROM unnest(o.lost) AS l (piece)
            UNION ALL
            SELECT
                k.piece,
                FALSE AS is_lost
            FROM unnest(o.not_landed - o.lost) AS k (piece)
        ) AS p
)

SELECT
    dataset,
    dag_id,
    frontier,
    lower(range_merge(range_agg(piece))) AS from_time,
    upper(range_merge(range_agg(piece))) AS to_time,
    control.windows_in(d, range_agg(piece)) AS windows
FROM pieces
WHERE is_lost
GROUP BY d, dataset, dag_id, frontier, range_no
ORDER BY dataset, from_time;
