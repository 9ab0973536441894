-- One row per window that a backfill would reach, in the order of loading: its start in microseconds since 1970, the
-- action, the rule and the reason. The first row has no place: it has the length of a window in microseconds, the
-- fingerprint of the plan and, if the backfill would be refused, the reason.
WITH planned AS MATERIALIZED (
    SELECT * FROM control.plan_backfill(
        %(dataset)s, %(from_time)s, %(to_time)s, %(which)s, %(excluded_dates)s::date[], %(weekdays)s::smallint[],
        %(closed_days)s, %(direction)s, %(via)s
    )
)

SELECT
    place,
    (extract(EPOCH FROM lower(window_range)) * 1000000)::bigint AS microseconds,
    action,
    rule,
    reason
FROM planned
UNION ALL
SELECT
    NULL AS place,
    max(extract(EPOCH FROM upper(window_range) - lower(window_range)) * 1000000)::bigint AS microseconds,
    control.plan_fingerprint(
        array_agg(window_range ORDER BY place), array_agg(action ORDER BY place), array_agg(rule ORDER BY place)
    ) AS action,
    NULL AS rule,
    control.overlap_of(%(dataset)s, array_agg(window_range) FILTER (WHERE action = 'load')) AS reason
FROM planned
ORDER BY place NULLS FIRST;
