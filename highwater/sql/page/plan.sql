-- What a backfill would do: its first windows, each with the sums and the fingerprint of the whole plan, and why
-- it would be refused, if it would.
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
