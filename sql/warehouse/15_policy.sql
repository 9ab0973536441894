-- What of a dataset is wanted: one policy each, and the closed days. Run as publisher; again is harmless.
--
-- Two kinds of rule. max_age, max_windows, skip_weekdays and skip_closed_days say that a window is not wanted at all:
-- it is skipped, whoever would load it. enabled and the conditions say only whether missing windows are loaded by
-- themselves now: such a window stays missing. 15 comes before the views that ask for it.

-- One row a named predicate in sql/catchup_control/conditions/; bootstrap writes down which there are.
CREATE TABLE IF NOT EXISTS control.conditions (
    condition text PRIMARY KEY,
    description text NOT NULL,
    settle interval NOT NULL DEFAULT '10 minutes',
    CONSTRAINT condition_is_a_short_lower_case_name CHECK (condition ~ '^[a-z][a-z0-9_]{0,39}$'),
    CONSTRAINT settle_is_not_negative CHECK (extract(EPOCH FROM settle) >= 0)
);

COMMENT ON COLUMN control.conditions.settle IS 'So long it must have answered otherwise before catch-up is switched';

-- One row a dataset.
CREATE TABLE IF NOT EXISTS control.catchup_policies (
    dataset text PRIMARY KEY REFERENCES control.datasets ON DELETE CASCADE,
    enabled boolean NOT NULL DEFAULT TRUE,
    max_age interval,
    max_windows integer,
    skip_weekdays smallint[] NOT NULL DEFAULT '{}',
    skip_closed_days boolean NOT NULL DEFAULT TRUE,
    conditions text[] NOT NULL DEFAULT '{}',
    changed_by text,
    changed_at timestamptz,
    reason text,
    CONSTRAINT max_age_is_positive CHECK (extract(EPOCH FROM max_age) > 0),
    CONSTRAINT max_age_is_no_month CHECK (extract(YEAR FROM max_age) = 0 AND extract(MONTH FROM max_age) = 0),
    CONSTRAINT max_windows_is_positive CHECK (max_windows > 0),
    CONSTRAINT skip_weekdays_are_1_monday_to_7_sunday CHECK (skip_weekdays <@ '{1,2,3,4,5,6,7}'::smallint[]),
    CONSTRAINT skip_weekdays_leave_one CHECK (NOT skip_weekdays @> '{1,2,3,4,5,6,7}'::smallint[])
);

COMMENT ON COLUMN control.catchup_policies.enabled IS
'Whether missing windows are loaded by themselves; while it is off only the newest due window is';
COMMENT ON COLUMN control.catchup_policies.max_age IS 'A window that ended longer ago than this is not wanted';
COMMENT ON COLUMN control.catchup_policies.max_windows IS 'Only so many of the newest due windows are wanted';
COMMENT ON COLUMN control.catchup_policies.skip_weekdays IS
'ISO, 1 is Monday: a window that touches no other day is not wanted; days are of UTC';
COMMENT ON COLUMN control.catchup_policies.conditions IS 'Catch-up is on only while each of these holds';

-- One row a day on which nothing is to be had of a dataset; of every dataset where it is null.
CREATE TABLE IF NOT EXISTS control.closed_days (
    day date NOT NULL,
    dataset text REFERENCES control.datasets ON DELETE CASCADE,
    reason text NOT NULL,
    CONSTRAINT reason_says_something CHECK (reason ~ '\S')
);

CREATE UNIQUE INDEX IF NOT EXISTS a_day_is_closed_once ON control.closed_days (day, coalesce(dataset, ''));

-- One row a change of what is wanted, whoever made it and by which way.
CREATE TABLE IF NOT EXISTS control.catchup_policy_history (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what text NOT NULL CHECK (what IN ('policy', 'closed day', 'source rule')),
    dataset text,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL,
    old jsonb,
    new jsonb,
    reason text,
    announced_at timestamptz
);

CREATE INDEX IF NOT EXISTS policy_history_not_announced ON control.catchup_policy_history (change_id)
WHERE announced_at IS NULL;

COMMENT ON COLUMN control.catchup_policy_history.changed_by IS
'The login, and who used it if they said so by SET highwater.by';

-- One row a condition of a policy: what it answered last, and what follows.
CREATE TABLE IF NOT EXISTS control.condition_states (
    condition text NOT NULL REFERENCES control.conditions ON DELETE CASCADE,
    dataset text NOT NULL REFERENCES control.datasets ON DELETE CASCADE,
    holds boolean NOT NULL,
    since timestamptz NOT NULL,
    answered boolean,
    answered_since timestamptz,
    checked_at timestamptz,
    error text,
    error_since timestamptz,
    PRIMARY KEY (condition, dataset)
);

COMMENT ON COLUMN control.condition_states.holds IS 'What counts: the answer, once it has stood for the settling time';
COMMENT ON COLUMN control.condition_states.error IS 'The last look failed; what counted before still counts';

-- Every dataset has a policy: all of it is wanted, unless somebody says otherwise.
CREATE OR REPLACE FUNCTION control.give_a_policy() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO control.catchup_policies (dataset) VALUES (NEW.dataset) ON CONFLICT (dataset) DO NOTHING;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER every_dataset_has_a_policy AFTER INSERT OR UPDATE ON control.datasets
FOR EACH ROW EXECUTE FUNCTION control.give_a_policy();

-- For those of an older warehouse.
UPDATE control.datasets SET dataset = dataset
WHERE dataset NOT IN (SELECT p.dataset FROM control.catchup_policies AS p);

-- Who changes what is wanted: the login, and the person who said so.
CREATE OR REPLACE FUNCTION control.who() RETURNS text
LANGUAGE sql STABLE
RETURN session_user || coalesce(' (' || nullif(current_setting('highwater.by', TRUE), '') || ')', '');

-- Refuses a condition that nobody has written, and says of each change who made it, when and why. A reason that the
-- statement does not give is none: the one of the change before would be a wrong one.
CREATE OR REPLACE FUNCTION control.check_policy() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    strange text;
BEGIN
    SELECT c INTO strange FROM unnest(NEW.conditions) AS c
    WHERE c NOT IN (SELECT k.condition FROM control.conditions AS k);
    IF strange IS NOT NULL THEN
        RAISE EXCEPTION 'unknown condition "%" in the policy of %; known: %', strange, NEW.dataset,
            (SELECT coalesce(string_agg(k.condition, ', ' ORDER BY k.condition), 'none') FROM control.conditions AS k)
            USING ERRCODE = 'HW010';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF to_jsonb(NEW) = to_jsonb(OLD) THEN
            RETURN NEW;
        END IF;
        IF NEW.reason IS NOT DISTINCT FROM OLD.reason THEN
            NEW.reason := NULL;
        END IF;
        NEW.changed_by := control.who();
        NEW.changed_at := ops.clock();
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE TRIGGER policy_is_sound BEFORE INSERT OR UPDATE ON control.catchup_policies
FOR EACH ROW EXECUTE FUNCTION control.check_policy();

-- Keeps every change of what is wanted, those by a plain UPDATE in psql too.
CREATE OR REPLACE FUNCTION control.record_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    aside constant text[] := '{dataset,changed_by,changed_at,reason}';
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - aside END;
    new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - aside END;
    given text;
BEGIN
    IF old_row IS NOT DISTINCT FROM new_row THEN
        RETURN NULL;
    END IF;
    given := CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE to_jsonb(NEW) ->> 'reason' END;
    INSERT INTO control.catchup_policy_history (what, dataset, changed_at, changed_by, old, new, reason)
    VALUES (
        TG_ARGV[0], coalesce(to_jsonb(NEW), to_jsonb(OLD)) ->> 'dataset', ops.clock(), control.who(), old_row, new_row,
        given
    );
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER policy_changes_are_kept AFTER UPDATE OR DELETE ON control.catchup_policies
FOR EACH ROW EXECUTE FUNCTION control.record_change('policy');
CREATE OR REPLACE TRIGGER closed_day_changes_are_kept AFTER INSERT OR UPDATE OR DELETE ON control.closed_days
FOR EACH ROW EXECUTE FUNCTION control.record_change('closed day');

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
        INNER JOIN control.catchup_policies AS p USING (dataset)
        WHERE
            d.dataset = p_dataset
            AND (
                p.max_age IS NOT NULL OR p.max_windows IS NOT NULL OR p.skip_weekdays <> '{}'
                OR (p.skip_closed_days AND EXISTS (SELECT FROM control.closed_days))
            )
    ),

    weekday_stretches AS (
        SELECT range_agg(tstzrange(day, day + '1 day'::interval, '[)')) AS stretches
        FROM policy AS p
        CROSS JOIN LATERAL (
            SELECT n::timestamp AT TIME ZONE 'UTC' AS day
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
        INNER JOIN control.closed_days AS c ON c.dataset IS NULL OR c.dataset = p.dataset
        WHERE p.skip_closed_days
    ),

    left_out AS (
        SELECT
            1 AS place,
            'max_age' AS rule,
            'it ended more than ' || p.max_age || ' ago' AS reason,
            tstzmultirange(tstzrange(p.first_window, p.first_window + make_interval(secs => greatest(
                0, ceil(extract(EPOCH FROM p_moment - p.max_age - p.first_window) / p.step) - 1
            ) * p.step), '[)')) AS window_ranges
        FROM policy AS p
        WHERE p.max_age IS NOT NULL
        UNION ALL
        SELECT
            2,
            'max_windows',
            'it is not among the newest ' || p.max_windows || ' due windows',
            tstzmultirange(tstzrange(p.first_window, greatest(
                p.first_window, control.due_until(p.d, p_moment) - make_interval(secs => p.max_windows * p.step)
            ), '[)'))
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
    FROM control.closed_days AS c
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

REVOKE EXECUTE ON FUNCTION control.give_a_policy, control.check_policy, control.record_change FROM public;
GRANT SELECT ON
control.conditions, control.catchup_policies, control.closed_days, control.catchup_policy_history,
control.condition_states
TO loader, analyst;
GRANT UPDATE ON control.catchup_policies TO operator;
GRANT INSERT, UPDATE, DELETE ON control.closed_days TO operator;
GRANT UPDATE (settle) ON control.conditions TO operator;
