-- One row per window, of the first that a backfill would reach, each with the sums and the fingerprint of the whole
-- plan and, if the backfill would be refused, the reason.
WITH plan AS MATERIALIZED (
    SELECT
        place,
        window_range,
        action,
        rule,
        reason
    FROM control.plan_backfill(
        %(dataset)s, %(since)s, %(until)s, %(which)s, %(excluded_dates)s::date[], %(weekdays)s::smallint[],
        %(closed_days)s, %(direction)s, 'form'
    )
),

sums AS (
    SELECT
        count(*) AS windows,
        count(*) FILTER (WHERE action = 'load') AS to_load,
        control.plan_fingerprint(
            array_agg(window_range ORDER BY place), array_agg(action ORDER BY place), array_agg(rule ORDER BY place)
        ) AS fingerprint,
        control.overlap_of(%(dataset)s, array_agg(window_range) FILTER (WHERE action = 'load')) AS refusal
    FROM plan
)

SELECT
    p.place,
    lower(p.window_range) AS window_start,
    upper(p.window_range) AS window_end,
    p.action,
    p.rule,
    p.reason,
    s.windows,
    s.to_load,
    s.fingerprint,
    s.refusal
FROM plan AS p
CROSS JOIN sums AS s
ORDER BY p.place ASC
LIMIT 200;
