-- One row a stretch of windows that are wanted, that Airflow has gone past, and that nobody has begun or asked for:
-- between them lies nothing else that has not landed. A dataset whose own runs fill its gaps has none, nor one whose
-- catch-up is off. What was begun once and failed waits for a person.
WITH frontiers AS (
    SELECT
        d.dataset,
        d.dag_id,
        catchup.is_on,
        max(lower(a.window_range)) AS frontier
    FROM control.datasets AS d
    INNER JOIN ops.attempts AS a ON d.dataset = a.dataset AND d.dag_id = a.dag_id
    CROSS JOIN LATERAL control.catchup_is_on(d.dataset) AS catchup
    WHERE d.grid = 'fixed' AND NOT d.fills_gaps AND a.run_id ~ '^(scheduled|backfill)__' AND catchup.is_on
    GROUP BY d.dataset, d.dag_id, catchup.is_on
),

open_windows AS (
    SELECT
        f.dataset,
        f.dag_id,
        f.frontier,
        w.window_start,
        w.window_end,
        w.state = 'missing'
        AND w.window_start < f.frontier
        AND NOT EXISTS (
            SELECT FROM control.backfill_windows AS b
            INNER JOIN control.backfills AS k USING (backfill_id)
            WHERE
                k.dataset = f.dataset AND b.window_range = w.window_range AND b.action = 'load'
                AND (k.via = 'policy' OR k.state IN ('requested', 'running', 'paused'))
        ) AS is_lost
    FROM frontiers AS f
    INNER JOIN ops.window_status AS w USING (dataset)
    WHERE w.is_due AND w.state NOT IN ('landed', 'skipped')
),

stretches AS (
    SELECT
        dataset,
        dag_id,
        frontier,
        window_start,
        window_end,
        is_lost,
        count(*) FILTER (WHERE NOT is_lost) OVER (PARTITION BY dataset ORDER BY window_start) AS stretch
    FROM open_windows
)

SELECT
    dataset,
    dag_id,
    frontier,
    min(window_start) AS from_time,
    max(window_end) AS to_time,
    count(*) AS windows
FROM stretches
WHERE is_lost
GROUP BY dataset, dag_id, frontier, stretch
ORDER BY dataset, from_time;
