-- One row per stretch of due windows that have not landed for one and the same reason and that no rule skips, oldest
-- first. Looked for in the stretches not_landed of the datasets, as ops/status.sql gives them.
WITH open_stretches AS (
    SELECT
        d.dataset,
        make_interval(secs => extract(EPOCH FROM d.step)) AS step,
        control.due_until(d, ops.clock()) AS due_until,
        o.stretch
    FROM control.datasets AS d
    INNER JOIN unnest(%(datasets)s::text[], %(not_landed)s::tstzmultirange[]) AS w (dataset, not_landed) USING (dataset)
    CROSS JOIN LATERAL unnest(w.not_landed) AS o (stretch)
    -- Between two of them lies another window, so each gives one row at least.
    ORDER BY d.dataset ASC, o.stretch ASC
    LIMIT %(most)s
),

-- Where somebody has tried or looked each window has its own reason, and the newest may; all others share one.
told_apart AS (
    SELECT
        o.dataset,
        o.step,
        o.stretch,
        tstzmultirange(o.stretch)
        * (tstzmultirange(tstzrange(o.due_until - o.step, o.due_until)) + known.windows) AS busy
    FROM open_stretches AS o
    CROSS JOIN
        LATERAL (
            SELECT coalesce(range_agg(tstzrange(k.window_start, k.window_start + o.step)), '{}') AS windows
            FROM (
                SELECT lower(a.window_range) AS window_start
                FROM ops.attempts AS a
                WHERE
                    a.dataset = o.dataset AND lower(a.window_range) >= lower(o.stretch)
                    AND lower(a.window_range) < upper(o.stretch)
                UNION ALL
                SELECT lower(c.window_range) AS window_start
                FROM ops.source_checks AS c
                INNER JOIN control.sources AS s USING (source)
                WHERE
                    s.dataset = o.dataset AND lower(c.window_range) >= lower(o.stretch)
                    AND lower(c.window_range) < upper(o.stretch)
            ) AS k
            WHERE mod(extract(EPOCH FROM k.window_start - lower(o.stretch)), extract(EPOCH FROM o.step)) = 0
        ) AS known
),

judged AS (
    SELECT
        t.dataset,
        w.window_range,
        w.state,
        w.reason
    FROM told_apart AS t
    CROSS JOIN LATERAL unnest(t.busy) AS b (stretch)
    CROSS JOIN LATERAL ops.windows_between(t.dataset, lower(b.stretch), upper(b.stretch)) AS w
    UNION ALL
    SELECT
        t.dataset,
        q.stretch AS window_range,
        w.state,
        w.reason
    FROM told_apart AS t
    CROSS JOIN LATERAL unnest(tstzmultirange(t.stretch) - t.busy) AS q (stretch)
    CROSS JOIN LATERAL ops.windows_between(t.dataset, lower(q.stretch), lower(q.stretch) + t.step) AS w
)

SELECT
    t.dataset,
    lower(joined.stretch) AS window_start,
    upper(joined.stretch) AS window_end,
    t.state,
    t.reason
FROM (
    SELECT
        dataset,
        state,
        reason,
        range_agg(window_range) AS windows
    FROM judged
    GROUP BY dataset, state, reason
) AS t
CROSS JOIN LATERAL unnest(t.windows) AS joined (stretch)
ORDER BY t.dataset ASC, window_start ASC
LIMIT %(most)s;
