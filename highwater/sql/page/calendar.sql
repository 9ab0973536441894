-- One row per cell of the calendar: a window, or with %(folded)s a day of shorter windows. It has the most urgent state
-- of its windows and the reason of the first window in that state. Only due windows are counted.
WITH windows AS (
    SELECT
        d.dataset,
        s.*,
        lower(s.window_range) AS window_start,
        upper(s.window_range) AS window_end,
        CASE
            WHEN %(folded)s AND d.step < '1 day' THEN date_trunc('day', lower(s.window_range))
            ELSE lower(s.window_range)
        END AS cell_start,
        array_position(
            ARRAY['failed', 'running', 'missing', 'held', 'landed', 'skipped', 'not due'], s.state
        ) AS urgency
    FROM control.datasets AS d
    CROSS JOIN LATERAL ops.windows_between(d.dataset, %(since)s, %(until)s) AS s
    WHERE d.dataset = any(%(datasets)s::text[])
),

tries AS (
    SELECT
        a.dataset,
        CASE
            WHEN %(folded)s AND d.step < '1 day' THEN date_trunc('day', lower(a.window_range))
            ELSE lower(a.window_range)
        END AS cell_start,
        count(*) FILTER (WHERE a.begins_attempt) AS attempts
    FROM ops.stage_tries AS a
    INNER JOIN control.datasets AS d USING (dataset)
    WHERE
        a.dataset = any(%(datasets)s::text[])
        AND lower(a.window_range) >= %(since)s AND lower(a.window_range) < %(until)s
    GROUP BY a.dataset, cell_start
)

SELECT
    w.dataset,
    w.cell_start,
    max(w.window_end) AS cell_end,
    (array_agg(w.state ORDER BY w.urgency, w.window_start))[1] AS state,
    count(*) AS windows,
    count(*) FILTER (WHERE w.is_due) AS due,
    count(*) FILTER (WHERE w.is_due AND w.state = 'landed') AS landed,
    count(*) FILTER (WHERE w.is_due AND w.state = 'running') AS running,
    count(*) FILTER (WHERE w.is_due AND w.state = 'failed') AS failed,
    count(*) FILTER (WHERE w.is_due AND w.state = 'skipped') AS skipped,
    count(*) FILTER (WHERE w.is_due AND w.state = 'held') AS held,
    count(*) FILTER (WHERE w.is_due AND w.state = 'missing') AS missing,
    sum(w.rows_published)::bigint AS rows_published,
    sum(w.rows_quarantined)::bigint AS rows_quarantined,
    max(w.version) AS version,
    max(w.landed_at) AS landed_at,
    coalesce(max(t.attempts), 0) AS attempts,
    (array_agg(w.reason ORDER BY w.urgency, w.window_start))[1] AS reason
FROM windows AS w
LEFT JOIN tries AS t ON w.dataset = t.dataset AND w.cell_start = t.cell_start
GROUP BY w.dataset, w.cell_start
ORDER BY w.dataset, w.cell_start
LIMIT %(most)s;
