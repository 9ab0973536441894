-- What follows from the policies: which windows are not wanted, and whether catch-up is on. Run as publisher; again is
-- harmless.

-- The policies and closed days that everybody goes by: without what a row of an older warehouse says and cannot mean.
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

-- The windows of a grid that lie wholly within one of the stretches.
CREATE OR REPLACE FUNCTION control.windows_within(wanted control.datasets, stretches tstzmultirange)
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
        CROSS JOIN unnest(stretches) AS s
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

-- One row a rule of the policy that leaves out windows of the dataset, strongest first: the windows within p_within
-- that it leaves out as p_moment comes, and why. No row where everything is wanted. The reason of a closed day depends
-- on the day: control.closed_because tells it.
CREATE OR REPLACE FUNCTION control.unwanted_by_rule(p_dataset text, p_moment timestamptz, p_within tstzrange)
RETURNS TABLE (place integer, rule text, reason text, window_ranges tstzmultirange)
LANGUAGE sql STABLE ROWS 1
AS $$
    WITH policy AS (
        SELECT
            d.dataset,
            d,
            d.first_window,
            extract(EPOCH FROM d.step) AS step,
            p.max_age,
            p.max_windows,
            p.skip_weekdays,
            p.skip_closed_days,
            p_within * tstzrange(d.first_window, NULL) AS within
        FROM control.datasets AS d
        INNER JOIN control.sound_policies AS p USING (dataset)
        WHERE
            d.dataset = p_dataset
            AND (
                p.max_age IS NOT NULL OR p.max_windows IS NOT NULL OR p.skip_weekdays <> '{}'
                OR (p.skip_closed_days AND EXISTS (SELECT FROM control.sound_closed_days))
            )
    ),

    weekday_stretches AS (
        -- A day of the session's zone may have 23 hours.
        SELECT range_agg(tstzrange(day AT TIME ZONE 'UTC', (day + '1 day'::interval) AT TIME ZONE 'UTC', '[)')) AS stretches
        FROM policy AS p
        CROSS JOIN LATERAL (
            SELECT n::timestamp AS day
            FROM generate_series(
                (lower(p.within) AT TIME ZONE 'UTC')::date::timestamp, upper(p.within) AT TIME ZONE 'UTC', '1 day'
            ) AS n
            WHERE extract(ISODOW FROM n)::smallint = ANY(p.skip_weekdays)
        ) AS days
        WHERE p.skip_weekdays <> '{}'
    ),

    closed_stretches AS (
        SELECT range_agg(tstzrange(
            c.day::timestamp AT TIME ZONE 'UTC', (c.day + 1)::timestamp AT TIME ZONE 'UTC', '[)'
        )) AS stretches
        FROM policy AS p
        INNER JOIN control.sound_closed_days AS c ON c.dataset IS NULL OR c.dataset = p.dataset
        WHERE p.skip_closed_days
    ),

    left_out AS (
        SELECT
            1 AS place,
            'max_age' AS rule,
            'it ended more than ' || p.max_age || ' ago' AS reason,
            tstzmultirange(tstzrange(p.first_window, p.first_window + make_interval(secs => greatest(
                0, ceil(extract(EPOCH FROM (p_moment AT TIME ZONE 'UTC') - p.max_age - (p.first_window AT TIME ZONE 'UTC'))
                / p.step) - 1
            ) * p.step), '[)')) AS window_ranges
        FROM policy AS p
        WHERE p.max_age IS NOT NULL
        UNION ALL
        SELECT
            2,
            'max_windows',
            'it is not among the newest ' || p.max_windows || ' due windows',
            -- Counted in windows: so many as an integer holds are longer than there is time.
            tstzmultirange(tstzrange(p.first_window, p.first_window + make_interval(secs => p.step * greatest(
                0, round(extract(EPOCH FROM control.due_until(p.d, p_moment) - p.first_window) / p.step) - p.max_windows
            )), '[)'))
        FROM policy AS p
        WHERE p.max_windows IS NOT NULL
        UNION ALL
        SELECT
            3,
            'skip_weekdays',
            'the policy skips ' || (
                SELECT string_agg(
                    (ARRAY['Mondays', 'Tuesdays', 'Wednesdays', 'Thursdays', 'Fridays', 'Saturdays', 'Sundays'])[n], ', '
                    ORDER BY n
                )
                FROM unnest(p.skip_weekdays) AS n
            ),
            control.windows_within(p.d, w.stretches)
        FROM policy AS p
        CROSS JOIN weekday_stretches AS w
        WHERE w.stretches IS NOT NULL
        UNION ALL
        SELECT
            4,
            'skip_closed_days',
            'every day of it is closed',
            control.windows_within(p.d, c.stretches + coalesce(w.stretches, '{}'))
        FROM policy AS p
        CROSS JOIN closed_stretches AS c
        CROSS JOIN weekday_stretches AS w
        WHERE c.stretches IS NOT NULL
    )

    SELECT l.place, l.rule, l.reason, l.window_ranges * tstzmultirange(p.within)
    FROM left_out AS l
    CROSS JOIN policy AS p
    WHERE l.window_ranges && p.within
    ORDER BY l.place
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

-- The rule by which a window of the dataset is not wanted, and why; null: it is wanted. Whether catch-up is switched on
-- is another question.
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

-- The windows that begin by p_moment and are not wanted then.
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
            || coalesce(' (it cannot be looked at now: ' || s.error || ')', ''))
    FROM control.catchup_policies AS p
    INNER JOIN control.condition_states AS s ON s.dataset = p.dataset AND s.condition = ANY(p.conditions) AND NOT s.holds
    WHERE p.dataset = p_dataset
$$;

-- Whether missing windows of the dataset are loaded by themselves now; if not, why not.
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
