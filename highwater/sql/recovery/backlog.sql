-- One row per due window of the dataset that has neither landed nor is skipped, oldest or newest first. A window that
-- was refused waits for a person and is left out; clearing its own run requests it again. While catch-up is off only
-- the newest window counts.
WITH refused AS MATERIALIZED (
    SELECT DISTINCT u.window_range
    FROM ops.unresolved_attempts AS u
    WHERE
        u.dataset = %(dataset)s AND u.error_kind IN ('audit failed', 'data rejected', 'configuration')
        AND NOT EXISTS (
            SELECT FROM ops.breakers AS b
            WHERE b.dataset = u.dataset AND b.closed_at >= u.started_at
        )
),

wanted AS (
    SELECT
        d.dataset,
        make_interval(secs => extract(EPOCH FROM d.step)) AS step,
        control.due_until(d, ops.clock()) AS due_until,
        catchup.is_on,
        w.missing + (w.running + w.failed) * w.due AS not_landed,
        d.first_window + floor(
            extract(EPOCH FROM %(own)s::timestamptz - d.first_window) / extract(EPOCH FROM d.step)
        )::bigint * make_interval(secs => extract(EPOCH FROM d.step)) AS own_start,
        -- The most that is read of one gap: enough windows even if all the refused ones are in it.
        (%(most)s + (SELECT count(*) FROM refused)) * extract(EPOCH FROM d.step) AS seconds
    FROM control.datasets AS d
    CROSS JOIN LATERAL control.catchup_is_on(d.dataset) AS catchup
    CROSS JOIN LATERAL ops.window_states(d.dataset) AS w
    WHERE d.dataset = %(dataset)s
),

not_landed AS (
    SELECT tstzrange(edge.moment, edge.moment + n.step) AS window_range
    FROM wanted AS n
    CROSS JOIN
        LATERAL unnest(
            CASE
                WHEN n.is_on THEN n.not_landed
                ELSE
                    n.not_landed * (
                        tstzmultirange(tstzrange(n.due_until - n.step, n.due_until))
                        + CASE
                            WHEN n.own_start IS NULL THEN '{}'::tstzmultirange
                            ELSE tstzmultirange(tstzrange(n.own_start, n.own_start + n.step))
                        END
                    )
            END
        ) AS o (gap)
    CROSS JOIN LATERAL generate_series(
        CASE
            WHEN %(newest)s
                THEN greatest(lower(o.gap), upper(o.gap) - make_interval(secs => n.seconds))
            ELSE lower(o.gap)
        END,
        CASE
            WHEN %(newest)s THEN upper(o.gap)
            ELSE least(upper(o.gap), lower(o.gap) + make_interval(secs => n.seconds))
        END - n.step,
        n.step
    ) AS edge (moment)
)

SELECT
    lower(w.window_range) AS window_start,
    upper(w.window_range) AS window_end
FROM not_landed AS w
WHERE
    w.window_range @> %(own)s::timestamptz
    OR w.window_range NOT IN (SELECT r.window_range FROM refused AS r)
ORDER BY
    CASE
        WHEN %(newest)s THEN -extract(EPOCH FROM lower(w.window_range)) ELSE extract(EPOCH FROM lower(w.window_range))
    END
LIMIT %(most)s;
