-- Evaluates the policies: which windows are unwanted, and whether catch-up is on. Run as publisher; idempotent.

-- The policies and closed days that all readers use: without the invalid values that rows of an older warehouse may
-- hold.
CREATE OR REPLACE VIEW control.sound_policies AS
SELECT
    dataset,
    enabled,
    CASE WHEN control.is_usual_span(max_age) THEN max_age END AS max_age,
    max_windows,
    skip_weekdays,
    skip_closed_days,
    array_remove(conditions, NULL) AS conditions
FROM control.catchup_policies;

CREATE OR REPLACE VIEW control.sound_closed_days AS
SELECT
    day,
    dataset,
    reason
FROM control.closed_days
WHERE control.is_usual_day(day);

GRANT SELECT ON control.sound_policies, control.sound_closed_days TO loader, analyst;

-- The windows of a grid that lie wholly within one of the ranges.
CREATE OR REPLACE FUNCTION control.windows_within(wanted control.datasets, ranges tstzmultirange)
RETURNS tstzmultirange
LANGUAGE sql IMMUTABLE
AS $$
    WITH grid AS (
        SELECT
            wanted.first_window AS origin,
            extract(EPOCH FROM wanted.step) AS step
    ),

    edges AS (
        SELECT
            g.origin,
            g.step,
            greatest(0, ceil(extract(EPOCH FROM lower(s) - g.origin) / g.step)) AS first_place,
            floor(extract(EPOCH FROM upper(s) - g.origin) / g.step) AS end_place
        FROM grid AS g
        CROSS JOIN unnest(ranges) AS s
    )

    SELECT
        coalesce(
            range_agg(tstzrange(
                origin + make_interval(secs => first_place * step), origin + make_interval(secs => end_place * step), '[)'
            )),
            '{}'::tstzmultirange
        )
    FROM edges
    WHERE first_place < end_place
$$;

-- The windows of a grid that ended more than max_age before a moment.
CREATE OR REPLACE FUNCTION control.windows_older_than(wanted control.datasets, max_age interval, moment timestamptz)
RETURNS tstzmultirange
LANGUAGE sql STABLE
RETURN tstzmultirange(tstzrange(wanted.first_window, wanted.first_window + make_interval(secs => greatest(
    0,
    ceil(
        extract(EPOCH FROM (moment AT TIME ZONE 'UTC') - max_age - (wanted.first_window AT TIME ZONE 'UTC'))
        / extract(EPOCH FROM wanted.step)
    ) - 1
) * extract(EPOCH FROM wanted.step)), '[)'));

-- The windows of a grid before the newest max_windows that are due at a moment. Counted in windows, since max_windows *
-- step may exceed the range of timestamptz.
CREATE OR REPLACE FUNCTION control.windows_before_newest(
    wanted control.datasets, max_windows integer, moment timestamptz
) RETURNS tstzmultirange
LANGUAGE sql STABLE
RETURN tstzmultirange(tstzrange(wanted.first_window, wanted.first_window + make_interval(
    secs => extract(EPOCH FROM wanted.step) * greatest(
        0,
        round(
            extract(EPOCH FROM control.due_until(wanted, moment) - wanted.first_window)
            / extract(EPOCH FROM wanted.step)
        ) - max_windows
    )
), '[)'));

-- The days of some weekdays that touch a range; null if there is no such day.
CREATE OR REPLACE FUNCTION control.days_of_weekdays(weekdays smallint[], within tstzrange) RETURNS tstzmultirange
LANGUAGE sql STABLE
AS $$
    -- Computed without a zone: a day of the session's zone may have 23 hours.
    SELECT range_agg(tstzrange(day AT TIME ZONE 'UTC', (day + '1 day'::interval) AT TIME ZONE 'UTC', '[)'))
    FROM generate_series(
        (lower(within) AT TIME ZONE 'UTC')::date::timestamp, upper(within) AT TIME ZONE 'UTC', '1 day'
    ) AS n (day)
    WHERE extract(ISODOW FROM day)::smallint = ANY(weekdays)
$$;

-- The closed days of a dataset; null if it has no closed day.
CREATE OR REPLACE FUNCTION control.closed_days_of(p_dataset text) RETURNS tstzmultirange
LANGUAGE sql STABLE
AS $$
    SELECT range_agg(tstzrange(
        c.day::timestamp AT TIME ZONE 'UTC', (c.day + 1)::timestamp AT TIME ZONE 'UTC', '[)'
    ))
    FROM control.sound_closed_days AS c
    WHERE c.dataset IS NULL OR c.dataset = p_dataset
$$;

-- Weekdays as the reason of a verdict names them: Saturdays, Sundays.
CREATE OR REPLACE FUNCTION control.weekday_names(weekdays smallint[]) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT string_agg(
        (ARRAY['Mondays', 'Tuesdays', 'Wednesdays', 'Thursdays', 'Fridays', 'Saturdays', 'Sundays'])[n], ', ' ORDER BY n
    )
    FROM unnest(weekdays) AS n
$$;

-- One row per rule of the policy that excludes windows of the dataset, in order of precedence: the windows within
-- p_within that it excludes at p_moment, and why. No row if every window is wanted. The reason of a closed day depends
-- on the day: see control.closed_because. highwater/model/policy.py has the same rules; a property test compares them.
CREATE OR REPLACE FUNCTION control.unwanted_by_rule(p_dataset text, p_moment timestamptz, p_within tstzrange)
RETURNS TABLE (place integer, rule text, reason text, window_ranges tstzmultirange)
LANGUAGE sql STABLE ROWS 1
AS $$
    WITH policy AS MATERIALIZED (
        SELECT
            d,
            p.max_age,
            p.max_windows,
            p.skip_weekdays,
            w.within,
            CASE WHEN p.skip_weekdays <> '{}' THEN control.days_of_weekdays(p.skip_weekdays, w.within) END AS weekdays,
            CASE WHEN p.skip_closed_days THEN control.closed_days_of(d.dataset) END AS closed
        FROM control.datasets AS d
        INNER JOIN control.sound_policies AS p USING (dataset)
        CROSS JOIN LATERAL (SELECT p_within * tstzrange(d.first_window, NULL) AS within) AS w
        WHERE
            d.dataset = p_dataset
            AND (
                p.max_age IS NOT NULL OR p.max_windows IS NOT NULL OR p.skip_weekdays <> '{}'
                OR (p.skip_closed_days AND EXISTS (SELECT FROM control.sound_closed_days))
            )
    )

    SELECT r.place, r.rule, r.reason, r.window_ranges * tstzmultirange(p.within)
    FROM policy AS p
    CROSS JOIN LATERAL (
        SELECT 1, 'max_age', 'it ended more than ' || p.max_age || ' ago',
            control.windows_older_than(p.d, p.max_age, p_moment)
        WHERE p.max_age IS NOT NULL
        UNION ALL
        SELECT 2, 'max_windows', 'it is not among the newest ' || p.max_windows || ' due windows',
            control.windows_before_newest(p.d, p.max_windows, p_moment)
        WHERE p.max_windows IS NOT NULL
        UNION ALL
        SELECT 3, 'skip_weekdays', 'the policy skips ' || control.weekday_names(p.skip_weekdays),
            control.windows_within(p.d, p.weekdays)
        WHERE p.weekdays IS NOT NULL
        UNION ALL
        SELECT 4, 'skip_closed_days', 'every day of it is closed',
            control.windows_within(p.d, p.closed + coalesce(p.weekdays, '{}'))
        WHERE p.closed IS NOT NULL
    ) AS r (place, rule, reason, window_ranges)
    WHERE r.window_ranges && p.within
    ORDER BY r.place
$$;

-- Why the closed days of a window are closed.
CREATE OR REPLACE FUNCTION control.closed_because(p_dataset text, p_window tstzrange) RETURNS text
LANGUAGE sql STABLE
AS $$
    SELECT string_agg(c.day || ' is closed: ' || c.reason, ', ' ORDER BY c.day, c.dataset)
    FROM control.sound_closed_days AS c
    WHERE
        (c.dataset IS NULL OR c.dataset = p_dataset)
        AND c.day >= (lower(p_window) AT TIME ZONE 'UTC')::date AND c.day::timestamp AT TIME ZONE 'UTC' < upper(p_window)
$$;

-- The rule by which a window of the dataset is unwanted, and why; null if it is wanted. Whether catch-up is on does not
-- matter here.
CREATE OR REPLACE FUNCTION control.policy_verdict(
    p_dataset text, p_window tstzrange, p_moment timestamptz, OUT rule text, OUT reason text
)
LANGUAGE sql STABLE
AS $$
    SELECT
        u.rule,
        CASE u.rule WHEN 'skip_closed_days' THEN control.closed_because(p_dataset, p_window) ELSE u.reason END
    FROM control.unwanted_by_rule(p_dataset, p_moment, p_window) AS u
    WHERE u.window_ranges @> p_window
    ORDER BY u.place
    LIMIT 1
$$;

-- The windows that begin by p_moment and are unwanted at that time.
CREATE OR REPLACE FUNCTION control.unwanted(p_dataset text, p_moment timestamptz) RETURNS tstzmultirange
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(range_agg(u.window_ranges), '{}'::tstzmultirange)
    FROM control.datasets AS d
    CROSS JOIN LATERAL control.unwanted_by_rule(
        p_dataset, p_moment,
        tstzrange(d.first_window, greatest(
            d.first_window, p_moment + make_interval(secs => extract(EPOCH FROM d.step))
        ))
    ) AS u
    WHERE d.dataset = p_dataset
$$;

-- Whether every condition of the dataset's policy holds; if not, the first that does not and since when.
CREATE OR REPLACE FUNCTION control.conditions_hold(p_dataset text, OUT hold boolean, OUT reason text)
LANGUAGE sql STABLE SET timezone = 'UTC'
AS $$
    SELECT
        count(s.condition) = 0,
        min('condition ' || s.condition || ' does not hold since ' || to_char(s.since, 'YYYY-MM-DD HH24:MI')
            || coalesce(' (it cannot be checked now: ' || s.error || ')', ''))
    FROM control.catchup_policies AS p
    INNER JOIN control.condition_states AS s ON s.dataset = p.dataset AND s.condition = ANY(p.conditions) AND NOT s.holds
    WHERE p.dataset = p_dataset
$$;

-- Whether missing windows of the dataset are loaded automatically now; if not, why not.
CREATE OR REPLACE FUNCTION control.catchup_is_on(p_dataset text, OUT is_on boolean, OUT reason text)
LANGUAGE sql STABLE SET timezone = 'UTC'
AS $$
    SELECT
        coalesce(p.enabled, TRUE) AND c.hold,
        CASE
            WHEN NOT p.enabled
                THEN
                    'catch-up is off' || coalesce(
                        ' since ' || to_char(off.changed_at, 'YYYY-MM-DD HH24:MI') || ' by ' || off.changed_by
                        || coalesce(': ' || off.reason, ''), ''
                    )
            ELSE c.reason
        END
    FROM control.conditions_hold(p_dataset) AS c
    LEFT JOIN control.catchup_policies AS p ON p.dataset = p_dataset
    LEFT JOIN LATERAL (
        SELECT h.changed_at, h.changed_by, h.reason
        FROM control.catchup_policy_history AS h
        WHERE
            h.what = 'policy' AND h.dataset = p_dataset
            AND h.new ->> 'enabled' = 'false' AND h.old ->> 'enabled' = 'true'
        ORDER BY h.change_id DESC
        LIMIT 1
    ) AS off ON TRUE
$$;
