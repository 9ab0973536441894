-- One row per range of due windows that have not landed for one reason, and are not skipped by a rule; oldest first.
-- %(not_landed)s has the gaps of each dataset, as ops/status.sql returns them.
WITH gaps AS (
    SELECT
        d.dataset,
        make_interval(secs => extract(EPOCH FROM d.step)) AS step,
        control.due_until(d, ops.clock()) AS due_until,
        o.gap
    FROM control.datasets AS d
    INNER JOIN unnest(%(datasets)s::text[], %(not_landed)s::tstzmultirange[]) AS w (dataset, not_landed) USING (dataset)
    CROSS JOIN LATERAL unnest(w.not_landed) AS o (gap)
    -- Each gap gives at least one row, since another window lies between two of them.
    ORDER BY d.dataset ASC, o.gap ASC
    LIMIT %(most)s
),

-- Windows with an attempt or a check have a reason of their own, and the newest may have; all others share one reason.
split AS (
    SELECT
        o.dataset,
        o.step,
        o.gap,
        tstzmultirange(o.gap)
        * (tstzmultirange(tstzrange(o.due_until - o.step, o.due_until)) + known.windows) AS own_reasons
    FROM gaps AS o
    CROSS JOIN
        LATERAL (
            SELECT coalesce(range_agg(tstzrange(k.window_start, k.window_start + o.step)), '{}') AS windows
            FROM (
                SELECT lower(a.window_range) AS window_start
                FROM ops.attempts AS a
                WHERE
                    a.dataset = o.dataset AND lower(a.window_range) >= lower(o.gap)
                    AND lower(a.window_range) < upper(o.gap)
                UNION ALL
                SELECT lower(c.window_range) AS window_start
                FROM ops.source_checks AS c
                INNER JOIN control.sources AS s USING (source)
                WHERE
                    s.dataset = o.dataset AND lower(c.window_range) >= lower(o.gap)
                    AND lower(c.window_range) < upper(o.gap)
            ) AS k
            WHERE mod(extract(EPOCH FROM k.window_start - lower(o.gap)), extract(EPOCH FROM o.step)) = 0
        ) AS known
),

judged AS (
    SELECT
        t.dataset,
        w.window_range,
        w.state,
        w.reason
    FROM split AS t
    CROSS JOIN LATERAL unnest(t.own_reasons) AS b (windows)
    CROSS JOIN LATERAL ops.windows_between(t.dataset, lower(b.windows), upper(b.windows)) AS w
    UNION ALL
    SELECT
        t.dataset,
        q.windows AS window_range,
        w.state,
        w.reason
    FROM split AS t
    CROSS JOIN LATERAL unnest(tstzmultirange(t.gap) - t.own_reasons) AS q (windows)
    CROSS JOIN LATERAL ops.windows_between(t.dataset, lower(q.windows), lower(q.windows) + t.step) AS w
)

SELECT
    t.dataset,
    lower(joined.windows) AS window_start,
    upper(joined.windows) AS window_end,
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
CROSS JOIN LATERAL unnest(t.windows) AS joined (windows)
ORDER BY t.dataset ASC, window_start ASC
LIMIT %(most)s;
