-- The plan of a backfill: validates a request, and decides what happens to each window and why. Run as publisher;
-- idempotent.

-- The start of the first window of a grid that begins at or after a moment.
CREATE OR REPLACE FUNCTION control.window_at_or_after(wanted control.datasets, moment timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
RETURN wanted.first_window + make_interval(
    secs => extract(EPOCH FROM wanted.step)
    * greatest(0, ceil(extract(EPOCH FROM moment - wanted.first_window) / extract(EPOCH FROM wanted.step)))
);

-- A list as people write it: a, b or c.
CREATE OR REPLACE FUNCTION control.or_list(p_values text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN regexp_replace(array_to_string(p_values, ', '), ', (\w+)$', ' or \1');

-- Refuses a value that is not one of those listed.
CREATE OR REPLACE FUNCTION control.refuse_unless_one_of(p_name text, p_value text, p_valid text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_value IS NULL OR p_value <> ALL(p_valid) THEN
        RAISE EXCEPTION 'invalid % "%": expected %', p_name, coalesce(p_value, ''), control.or_list(p_valid)
            USING ERRCODE = 'HW030';
    END IF;
END;
$$;

-- The dataset of a backfill; refuses an unknown one, and one without windows.
CREATE OR REPLACE FUNCTION control.dataset_to_backfill(p_dataset text) RETURNS control.datasets
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known control.datasets;
    with_windows CONSTANT text := (
        SELECT string_agg(d.dataset, ', ' ORDER BY d.dataset) FROM control.datasets AS d WHERE d.grid = 'fixed'
    );
BEGIN
    SELECT * INTO known FROM control.datasets AS d WHERE d.dataset = p_dataset;
    IF NOT found THEN
        RAISE EXCEPTION 'unknown dataset "%": expected one of %', coalesce(p_dataset, ''), with_windows
            USING ERRCODE = 'HW030';
    ELSIF known.grid <> 'fixed' THEN
        RAISE EXCEPTION 'dataset "%" is loaded from watermark to watermark and has no windows to load again: '
            'scripts/highwater checkpoint reset % lets its next run read everything; backfills are for: %', p_dataset,
            p_dataset, with_windows USING ERRCODE = 'HW030';
    END IF;
    RETURN known;
END;
$$;

-- Refuses a range that is empty, too long, in the future or before the first window of the dataset.
CREATE OR REPLACE FUNCTION control.refuse_backfill_range(known control.datasets, p_from timestamptz, p_to timestamptz)
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    most_windows CONSTANT bigint := 100000;
    due CONSTANT timestamptz := control.due_until(known, ops.clock());
    valid CONSTANT text := format(
        'valid for %s: from %s (its first window) to %s (the end of the newest window that is due)', known.dataset,
        to_char(known.first_window, 'YYYY-MM-DD HH24:MI'), to_char(due, 'YYYY-MM-DD HH24:MI')
    );
    begins CONSTANT text := to_char(p_from, 'YYYY-MM-DD HH24:MI');
    ends CONSTANT text := to_char(p_to, 'YYYY-MM-DD HH24:MI');
    -- A user who gave a last day finds that day beside the moment at which it ends.
    until CONSTANT text := ends || CASE
        WHEN p_to = date_trunc('day', p_to) THEN to_char(p_to - interval '1 day', '" (the end of "YYYY-MM-DD")"') ELSE ''
    END;
    windows CONSTANT numeric := CASE
        WHEN isfinite(p_from) AND isfinite(p_to) THEN extract(EPOCH FROM p_to - p_from) / extract(EPOCH FROM known.step)
    END;
BEGIN
    IF p_from IS NULL OR p_to IS NULL OR NOT isfinite(p_from) OR NOT isfinite(p_to) THEN
        RAISE EXCEPTION 'invalid from "%" to "%": both must be moments; %', coalesce(p_from::text, ''),
            coalesce(p_to::text, ''), valid USING ERRCODE = 'HW030';
    ELSIF p_from >= p_to THEN
        RAISE EXCEPTION 'from % is not before to %: did you mean them the other way round? %', begins, until, valid
            USING ERRCODE = 'HW030';
    ELSIF p_to > p_from + interval '10 years' THEN
        RAISE EXCEPTION 'from % to % is % years: a backfill is for at most 10 years; %', begins, ends,
            round(extract(EPOCH FROM p_to - p_from) / 31557600), valid USING ERRCODE = 'HW030';
    ELSIF p_from < known.first_window THEN
        RAISE EXCEPTION 'from % is before the first window; %; docs/how-to/operations.md says how to load days before it',
            begins, valid USING ERRCODE = 'HW030';
    ELSIF p_from >= ops.clock() THEN
        RAISE EXCEPTION 'from % is in the future; %', begins, valid USING ERRCODE = 'HW030';
    ELSIF p_to > greatest(due, ops.clock()) THEN
        RAISE EXCEPTION 'to % is in the future; %', until, valid USING ERRCODE = 'HW030';
    ELSIF windows > most_windows THEN
        RAISE EXCEPTION 'from % to % are % windows of %: at most % at once', begins, ends, floor(windows), known.dataset,
            most_windows USING ERRCODE = 'HW030';
    END IF;
END;
$$;

-- Refuses weekdays that do not exist, and excluded dates outside of the range.
CREATE OR REPLACE FUNCTION control.refuse_backfill_days(
    p_from timestamptz, p_to timestamptz, p_excluded_dates date[], p_weekdays smallint[]
) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    no_weekdays CONSTANT text := (
        SELECT string_agg(coalesce(w::text, 'null'), ', ')
        FROM unnest(p_weekdays) AS w WHERE w NOT BETWEEN 1 AND 7 OR w IS NULL
    );
    outside CONSTANT text := (
        SELECT string_agg(coalesce(e::text, 'null'), ', ')
        FROM unnest(p_excluded_dates) AS e WHERE e IS NULL OR e < p_from::date OR e >= p_to
    );
BEGIN
    IF no_weekdays IS NOT NULL THEN
        RAISE EXCEPTION 'invalid weekday %: expected 1 (Monday) to 7 (Sunday)', no_weekdays USING ERRCODE = 'HW030';
    ELSIF cardinality(p_weekdays) = 0 THEN
        RAISE EXCEPTION 'no weekday is given: expected 1 (Monday) to 7 (Sunday), or null for every day'
            USING ERRCODE = 'HW030';
    ELSIF outside IS NOT NULL THEN
        RAISE EXCEPTION 'excluded date % does not lie between % and %', outside, to_char(p_from, 'YYYY-MM-DD HH24:MI'),
            to_char(p_to, 'YYYY-MM-DD HH24:MI') USING ERRCODE = 'HW030';
    END IF;
END;
$$;

-- Refuses a range in which no window lies wholly.
CREATE OR REPLACE FUNCTION control.refuse_range_without_window(
    known control.datasets, p_from timestamptz, p_to timestamptz
) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    first_start CONSTANT timestamptz := control.window_at_or_after(known, p_from);
BEGIN
    IF first_start + known.step > p_to THEN
        RAISE EXCEPTION 'no window of % lies wholly between % and %: its windows are % long, one begins at %', known.dataset,
            to_char(p_from, 'YYYY-MM-DD HH24:MI'), to_char(p_to, 'YYYY-MM-DD HH24:MI'), control.span_in_words(known.step),
            to_char(first_start, 'YYYY-MM-DD HH24:MI') USING ERRCODE = 'HW030';
    END IF;
END;
$$;

-- Refuses an invalid request, with the value and what was expected. Every way to request a backfill calls it, so all
-- give the same messages. Returns the dataset.
CREATE OR REPLACE FUNCTION control.check_backfill(
    p_dataset text, p_from timestamptz, p_to timestamptz, p_which text, p_excluded_dates date[],
    p_weekdays smallint[], p_closed_days text, p_direction text
) RETURNS control.datasets
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    known CONSTANT control.datasets := control.dataset_to_backfill(p_dataset);
BEGIN
    PERFORM control.refuse_backfill_range(known, p_from, p_to);
    PERFORM control.refuse_unless_one_of('which', p_which, '{missing,failed,all}');
    PERFORM control.refuse_unless_one_of('closed_days', p_closed_days, '{skip,load}');
    PERFORM control.refuse_unless_one_of('direction', p_direction, '{oldest,newest}');
    PERFORM control.refuse_backfill_days(p_from, p_to, p_excluded_dates, p_weekdays);
    PERFORM control.refuse_range_without_window(known, p_from, p_to);
    RETURN known;
END;
$$;

-- The windows that lie wholly in a range, each with the UTC days that it touches.
CREATE OR REPLACE FUNCTION control.windows_to_plan(known control.datasets, p_from timestamptz, p_to timestamptz)
RETURNS TABLE (window_range tstzrange, days tstzrange)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    SELECT
        tstzrange(edge, edge + w.step, '[)'),
        tstzrange(
            date_trunc('day', edge), date_trunc('day', edge + w.step - interval '1 microsecond') + interval '1 day', '[)'
        )
    FROM make_interval(secs => extract(EPOCH FROM known.step)) AS w (step)
    CROSS JOIN LATERAL generate_series(control.window_at_or_after(known, p_from), p_to - w.step, w.step) AS edge
$$;

-- The days of a range that fall on other weekdays than those given; null where all weekdays are wanted.
CREATE OR REPLACE FUNCTION control.days_of_other_weekdays(p_from timestamptz, p_to timestamptz, p_weekdays smallint[])
RETURNS tstzmultirange
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    SELECT range_agg(tstzrange(d, d + interval '1 day', '[)'))
    FROM generate_series(date_trunc('day', p_from), p_to, interval '1 day') AS d
    WHERE NOT extract(ISODOW FROM d) = ANY(p_weekdays)
$$;

-- The days of a range that a backfill skips as closed; null unless it skips closed days and there are some. Weekdays
-- that the policy skips count too, so that a window is skipped if each of its days is closed or skipped by the policy.
CREATE OR REPLACE FUNCTION control.closed_days_to_skip(
    p_dataset text, p_from timestamptz, p_to timestamptz, p_closed_days text
) RETURNS tstzmultirange
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    SELECT range_agg(tstzrange(c.day, c.day + 1, '[)')) + (
        SELECT coalesce(range_agg(tstzrange(d, d + interval '1 day', '[)')), '{}')
        FROM generate_series(date_trunc('day', p_from), p_to, interval '1 day') AS d
        INNER JOIN control.catchup_policies AS p ON p.dataset = p_dataset
        WHERE extract(ISODOW FROM d) = ANY(p.skip_weekdays)
    )
    FROM control.sound_closed_days AS c
    WHERE p_closed_days = 'skip' AND coalesce(c.dataset, p_dataset) = p_dataset
$$;

-- The windows of a dataset that a live attempt is loading, with its stage and run.
CREATE OR REPLACE FUNCTION control.windows_in_work(p_dataset text)
RETURNS TABLE (window_range tstzrange, stage text, run_id text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT ON (a.window_range) a.window_range, a.stage, a.run_id
    FROM ops.attempts AS a
    INNER JOIN ops.live_attempts AS live USING (attempt_id)
    WHERE a.dataset = p_dataset AND a.state = 'running'
    ORDER BY a.window_range, a.attempt_id DESC
$$;

-- The windows of a dataset whose latest attempt failed or died, with its stage and error, and whether they wait for a
-- person.
CREATE OR REPLACE FUNCTION control.windows_that_failed(p_dataset text)
RETURNS TABLE (window_range tstzrange, stage text, error text, waits boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.window_range, latest.stage, latest.error, latest.waits
    FROM (
        SELECT DISTINCT a.window_range FROM ops.attempts AS a
        WHERE a.dataset = p_dataset AND a.state <> 'succeeded'
    ) AS t
    CROSS JOIN LATERAL (
        SELECT
            a.stage, a.state, coalesce(a.error, 'the process died') AS error, a.attempt_id,
            ops.waits_for_person(a) AS waits
        FROM ops.attempts AS a
        WHERE
            a.dataset = p_dataset AND lower(a.window_range) = lower(t.window_range)
            AND a.window_range = t.window_range
        ORDER BY a.attempt_id DESC
        LIMIT 1
    ) AS latest
    WHERE
        latest.state IN ('failed', 'lost', 'running')
        AND NOT EXISTS (SELECT FROM ops.live_attempts AS live WHERE live.attempt_id = latest.attempt_id)
$$;

-- The windows that a person cancelled in a backfill of the policy and that were not requested since: the policy does
-- not request them again. Only for a plan of the policy.
CREATE OR REPLACE FUNCTION control.windows_cancelled(p_dataset text, p_via text)
RETURNS TABLE (window_range tstzrange, note text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT latest.window_range, 'backfill ' || latest.backfill_id || ' was ' || latest.note
    FROM (
        SELECT DISTINCT ON (b.window_range) b.window_range, b.backfill_id, b.state, k.via, k.note
        FROM control.backfill_windows AS b
        INNER JOIN control.backfills AS k USING (backfill_id)
        WHERE p_via = 'policy' AND k.dataset = p_dataset AND b.action = 'load'
        ORDER BY b.window_range, b.backfill_id DESC
    ) AS latest
    WHERE latest.state = 'cancelled' AND latest.via = 'policy'
$$;

-- Everything a plan needs to know of each window in a range: what has landed, runs, failed, is held, skipped, cancelled
-- or unwanted by the policy.
CREATE OR REPLACE FUNCTION control.plan_facts(
    known control.datasets, p_from timestamptz, p_to timestamptz, p_via text, p_moment timestamptz
) RETURNS TABLE (
    window_range tstzrange, days tstzrange, version integer, landed_by text, live_stage text, live_run text,
    failed_stage text, error text, waits boolean, held text, skip_rule text, skip_reason text, cancelled text,
    policy_rule text, policy_reason text
)
-- The planner does not know the number of windows; a nested loop over them would take minutes.
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = OFF
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    -- The backfill decides about closed days itself.
    WITH rules AS MATERIALIZED (
        SELECT u.place, u.rule, u.reason, u.window_ranges
        FROM control.unwanted_by_rule(known.dataset, p_moment, tstzrange(p_from, p_to)) AS u
        WHERE u.rule <> 'skip_closed_days'
    )

    SELECT
        w.window_range, w.days, l.version, l.run_id, i.stage, i.run_id, t.stage, t.error, t.waits, h.sentence, s.rule,
        s.reason, c.note, verdict.rule, verdict.reason
    FROM control.windows_to_plan(known, p_from, p_to) AS w
    LEFT JOIN (
        SELECT l.window_range, l.version, l.run_id FROM ops.window_ledger AS l WHERE l.dataset = known.dataset
    ) AS l ON w.window_range = l.window_range
    LEFT JOIN (
        SELECT h.window_range, h.sentence FROM ops.held_windows AS h WHERE h.dataset = known.dataset
    ) AS h ON w.window_range = h.window_range
    LEFT JOIN control.windows_in_work(known.dataset) AS i ON w.window_range = i.window_range
    LEFT JOIN control.windows_that_failed(known.dataset) AS t ON w.window_range = t.window_range
    LEFT JOIN (
        SELECT s.window_range, s.rule, s.reason FROM ops.skipped_windows AS s WHERE s.dataset = known.dataset
    ) AS s ON w.window_range = s.window_range
    LEFT JOIN control.windows_cancelled(known.dataset, p_via) AS c ON w.window_range = c.window_range
    LEFT JOIN LATERAL (
        SELECT u.rule, u.reason FROM rules AS u
        WHERE u.window_ranges @> w.window_range
        ORDER BY u.place
        LIMIT 1
    ) AS verdict ON TRUE;
END;
$$;

-- The verdict on each window in a range: the rule by which a backfill skips it, if one does, and the reason of the
-- action. A window counts as closed or excluded if every UTC day that it touches is.
CREATE OR REPLACE FUNCTION control.plan_verdicts(
    known control.datasets, p_from timestamptz, p_to timestamptz, p_which text, p_excluded_dates date[],
    p_weekdays smallint[], p_closed_days text, p_via text
) RETURNS TABLE (window_range tstzrange, rule text, reason text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := ops.clock();
    due CONSTANT timestamptz := control.due_until(known, moment);
    excluded CONSTANT tstzmultirange := (
        SELECT range_agg(tstzrange(e, e + 1, '[)')) FROM unnest(p_excluded_dates) AS e
    );
    other_weekdays CONSTANT tstzmultirange := control.days_of_other_weekdays(p_from, p_to, p_weekdays);
    weekdays_named CONSTANT text := (
        SELECT string_agg(to_char(date '2026-01-04' + w, 'FMDay'), ', ' ORDER BY w) FROM unnest(p_weekdays) AS w
    );
    closed CONSTANT tstzmultirange := control.closed_days_to_skip(known.dataset, p_from, p_to, p_closed_days);
BEGIN
    RETURN QUERY
    SELECT f.window_range, skip.verdict[1], coalesce(skip.verdict[2], CASE
        WHEN f.version IS NOT NULL THEN 'version ' || f.version || ' is loaded again'
        WHEN f.failed_stage IS NOT NULL THEN 'it failed in ' || f.failed_stage || ': ' || f.error
        WHEN f.skip_rule IS NOT NULL THEN 'it was skipped by the rule ' || f.skip_rule
        ELSE 'it is missing'
    END)
    FROM control.plan_facts(known, p_from, p_to, p_via, moment) AS f
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN f.days <@ excluded THEN ARRAY['excluded date', 'this backfill excludes the day']
                WHEN f.days <@ other_weekdays
                    THEN ARRAY[
                        'weekday',
                        to_char(lower(f.window_range), 'FMDay') || ' is not among the requested weekdays: ' || weekdays_named
                    ]
                WHEN f.policy_rule IS NOT NULL THEN ARRAY[f.policy_rule, f.policy_reason]
                WHEN f.days <@ closed
                    THEN ARRAY['skip_closed_days', control.closed_because(known.dataset, f.window_range)]
                WHEN upper(f.window_range) > due
                    THEN ARRAY['not due', 'it is due at ' || to_char(
                        upper(f.window_range) + known.due_after, 'YYYY-MM-DD HH24:MI'
                    )]
                WHEN f.live_stage IS NOT NULL
                    THEN ARRAY['in work', f.live_stage || ' by ' || f.live_run || ' is running']
                WHEN f.held IS NOT NULL THEN ARRAY['held', f.held || '; see scripts/highwater release']
                WHEN f.version IS NOT NULL AND p_which <> 'all'
                    THEN ARRAY['landed', 'version ' || f.version || ' by ' || f.landed_by]
                WHEN f.skip_rule IS NOT NULL AND f.version IS NULL AND p_which <> 'all'
                    THEN ARRAY[f.skip_rule, f.skip_reason]
                WHEN p_which = 'failed' AND f.failed_stage IS NULL
                    THEN ARRAY['not failed', 'it is missing, but no attempt at it has failed']
                WHEN
                    p_via IN ('policy', 'recovery')
                    AND f.version IS NULL AND f.waits
                    THEN ARRAY['refused', 'it waits for a person: ' || f.failed_stage || ': ' || f.error]
                WHEN f.cancelled IS NOT NULL THEN ARRAY['cancelled', f.cancelled]
            END AS verdict
    ) AS skip;
END;
$$;

-- The plan of a backfill: one row per window in the order of loading, with its action and the reason. An INSERT into
-- control.backfills records exactly these rows, so what is shown is what runs. Changes nothing.
CREATE OR REPLACE FUNCTION control.plan_backfill(
    p_dataset text,
    p_from timestamptz,
    p_to timestamptz,
    p_which text DEFAULT 'missing',
    p_excluded_dates date[] DEFAULT '{}',
    p_weekdays smallint[] DEFAULT NULL,
    p_closed_days text DEFAULT 'skip',
    p_direction text DEFAULT 'oldest',
    p_via text DEFAULT 'sql'
) RETURNS TABLE (place integer, window_range tstzrange, action text, rule text, reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
#variable_conflict use_column
DECLARE
    known CONSTANT control.datasets := control.check_backfill(
        p_dataset, p_from, p_to, p_which, p_excluded_dates, p_weekdays, p_closed_days, p_direction
    );
BEGIN
    RETURN QUERY
    SELECT
        (row_number() OVER (
            ORDER BY
                CASE WHEN p_direction = 'newest' THEN v.window_range END DESC,
                v.window_range
        ))::integer,
        v.window_range,
        CASE WHEN v.rule IS NULL THEN 'load' ELSE 'skip' END,
        v.rule,
        v.reason
    FROM control.plan_verdicts(
        known, p_from, p_to, p_which, p_excluded_dates, p_weekdays, p_closed_days, p_via
    ) AS v
    ORDER BY 1;
END;
$$;

-- The fingerprint of a plan, given in the order of loading: two plans are the same if their fingerprints are.
CREATE OR REPLACE FUNCTION control.plan_fingerprint(
    p_windows tstzrange[], p_actions text[], p_rules text[]
) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT md5(string_agg(
        extract(EPOCH FROM lower(p.window_range))::text || p.action || coalesce(p.rule, ''), E'\n' ORDER BY p.place
    ))
    FROM unnest(p_windows, p_actions, p_rules) WITH ORDINALITY AS p (window_range, action, rule, place)
$$;

-- Before a backfill is inserted: refuses an invalid one, and sets the columns that its caller may not choose.
CREATE OR REPLACE FUNCTION control.take_backfill() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
BEGIN
    new.excluded_dates := coalesce(new.excluded_dates, '{}');
    PERFORM control.check_backfill(
        new.dataset, new.from_time, new.to_time, new.which, new.excluded_dates, new.weekdays, new.closed_days, new.direction
    );
    new.reason := control.words('reason', new.reason);
    new.requested_by := control.words('requested_by', new.requested_by);
    PERFORM control.check_order(new.reason, new.requested_by, new.max_active, new.on_failure, new.via);
    new.state := 'requested';
    new.requested_at := ops.clock();
    new.waits_since := new.requested_at;
    -- Concurrent backfills of a dataset are serialized, so that the second sees the windows of the first.
    PERFORM ops.take_turn('backfills of ' || new.dataset);
    RETURN new;
END;
$$;

-- After a backfill is inserted: records its plan; refuses it if the plan differs from the one shown, or another
-- backfill has some of its windows.
CREATE OR REPLACE FUNCTION control.write_backfill_windows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    to_load bigint;
BEGIN
    INSERT INTO control.backfill_windows (backfill_id, place, window_range, action, rule, reason, state)
    SELECT
        new.backfill_id, p.place, p.window_range, p.action, p.rule, p.reason,
        CASE p.action WHEN 'load' THEN 'planned' ELSE 'skipped' END
    FROM control.plan_backfill(
        new.dataset, new.from_time, new.to_time, new.which, new.excluded_dates, new.weekdays, new.closed_days,
        new.direction, new.via
    ) AS p;
    IF new.plan_shown <> (
        SELECT control.plan_fingerprint(
            array_agg(w.window_range ORDER BY w.place), array_agg(w.action ORDER BY w.place),
            array_agg(w.rule ORDER BY w.place)
        )
        FROM control.backfill_windows AS w WHERE w.backfill_id = new.backfill_id
    ) THEN
        RAISE EXCEPTION 'the plan for % changed since it was shown: review it again', new.dataset USING ERRCODE = 'HW032';
    END IF;
    PERFORM control.refuse_overlap(new.backfill_id, new.dataset);
    SELECT count(*) INTO to_load FROM control.backfill_windows AS w
    WHERE w.backfill_id = new.backfill_id AND w.state = 'planned';
    IF to_load = 0 THEN
        UPDATE control.backfills AS b
        SET state = 'done', ended_at = ops.clock(), note = 'there was nothing to load'
        WHERE b.backfill_id = new.backfill_id;
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER take_backfill BEFORE INSERT ON control.backfills
FOR EACH ROW EXECUTE FUNCTION control.take_backfill();
CREATE OR REPLACE TRIGGER write_backfill_windows AFTER INSERT ON control.backfills
FOR EACH ROW EXECUTE FUNCTION control.write_backfill_windows();

REVOKE EXECUTE ON FUNCTION
control.or_list, control.refuse_unless_one_of, control.dataset_to_backfill, control.refuse_backfill_range,
control.refuse_backfill_days, control.refuse_range_without_window, control.check_backfill, control.windows_to_plan,
control.days_of_other_weekdays, control.closed_days_to_skip, control.windows_in_work, control.windows_that_failed,
control.windows_cancelled, control.plan_facts, control.plan_verdicts, control.plan_backfill, control.plan_fingerprint,
control.take_backfill, control.write_backfill_windows
FROM public;
GRANT EXECUTE ON FUNCTION control.or_list, control.refuse_unless_one_of TO loader, operator, analyst;
GRANT EXECUTE ON FUNCTION control.check_backfill, control.plan_backfill, control.plan_fingerprint TO loader, analyst;
