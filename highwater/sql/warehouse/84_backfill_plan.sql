-- Which windows a backfill has: what may be asked for, and what happens to each window and why. Run as publisher; again
-- is harmless.

-- The start of the first window of a grid that begins at or after a moment.
CREATE OR REPLACE FUNCTION control.window_at_or_after(wanted control.datasets, moment timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
RETURN wanted.first_window + make_interval(
    secs => extract(EPOCH FROM wanted.step)
    * greatest(0, ceil(extract(EPOCH FROM moment - wanted.first_window) / extract(EPOCH FROM wanted.step)))
);

-- Refuses what cannot be meant, with the value and what it may be. All ways in come through here, so all say the same.
CREATE OR REPLACE FUNCTION control.check_backfill(
    p_dataset text, p_from timestamptz, p_to timestamptz, p_which text, p_excluded_dates date[],
    p_weekdays smallint[], p_closed_days text, p_direction text
) RETURNS control.datasets
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    most_windows CONSTANT bigint := 100000;
    known control.datasets;
    due timestamptz;
    valid text;
    unknown text;
    -- Who said a day as the last one reads it beside the moment that it ends.
    until text := to_char(p_to, 'YYYY-MM-DD HH24:MI') || CASE
        WHEN p_to = date_trunc('day', p_to) THEN to_char(p_to - interval '1 day', '" (the end of "YYYY-MM-DD")"') ELSE ''
    END;
BEGIN
    SELECT * INTO known FROM control.datasets AS d WHERE d.dataset = p_dataset;
    IF NOT found THEN
        RAISE EXCEPTION 'unknown dataset "%"; known: %', coalesce(p_dataset, ''),
            (SELECT string_agg(d.dataset, ', ' ORDER BY d.dataset) FROM control.datasets AS d WHERE d.grid = 'fixed')
            USING ERRCODE = 'HW030';
    END IF;
    IF known.grid <> 'fixed' THEN
        RAISE EXCEPTION 'dataset "%" is loaded from watermark to watermark and has no windows to load again: '
            'scripts/highwater checkpoint reset % lets its next run read everything; backfills are for: %', p_dataset,
            p_dataset, (SELECT string_agg(d.dataset, ', ' ORDER BY d.dataset) FROM control.datasets AS d WHERE d.grid = 'fixed')
            USING ERRCODE = 'HW030';
    END IF;
    due := control.due_until(known, ops.clock());
    valid := format(
        'valid for %s: from %s (its first window) to %s (the end of the newest window that is due)', p_dataset,
        to_char(known.first_window, 'YYYY-MM-DD HH24:MI'), to_char(due, 'YYYY-MM-DD HH24:MI')
    );
    IF p_from IS NULL OR p_to IS NULL OR NOT isfinite(p_from) OR NOT isfinite(p_to) THEN
        RAISE EXCEPTION 'from "%" to "%": both must be moments; %', coalesce(p_from::text, ''), coalesce(p_to::text, ''), valid
            USING ERRCODE = 'HW030';
    ELSIF p_from >= p_to THEN
        RAISE EXCEPTION 'from % is not before to %: did you mean them the other way round? %',
            to_char(p_from, 'YYYY-MM-DD HH24:MI'), until, valid USING ERRCODE = 'HW030';
    ELSIF p_to > p_from + interval '10 years' THEN
        RAISE EXCEPTION 'from % to % is % years: a backfill is for at most 10 years; %',
            to_char(p_from, 'YYYY-MM-DD HH24:MI'), to_char(p_to, 'YYYY-MM-DD HH24:MI'),
            round(extract(EPOCH FROM p_to - p_from) / 31557600), valid USING ERRCODE = 'HW030';
    ELSIF p_from < known.first_window THEN
        RAISE EXCEPTION 'from % is before the first window; %; docs/how-to/operations.md says how to load days before it',
            to_char(p_from, 'YYYY-MM-DD HH24:MI'), valid USING ERRCODE = 'HW030';
    ELSIF p_from >= ops.clock() THEN
        RAISE EXCEPTION 'from % is in the future; %', to_char(p_from, 'YYYY-MM-DD HH24:MI'), valid USING ERRCODE = 'HW030';
    ELSIF p_to > greatest(due, ops.clock()) THEN
        RAISE EXCEPTION 'to % is in the future; %', until, valid USING ERRCODE = 'HW030';
    ELSIF extract(EPOCH FROM p_to - p_from) / extract(EPOCH FROM known.step) > most_windows THEN
        RAISE EXCEPTION 'from % to % are % windows of %: at most % at once', to_char(p_from, 'YYYY-MM-DD HH24:MI'),
            to_char(p_to, 'YYYY-MM-DD HH24:MI'), floor(extract(EPOCH FROM p_to - p_from) / extract(EPOCH FROM known.step)),
            p_dataset, most_windows USING ERRCODE = 'HW030';
    END IF;
    IF p_which IS NULL OR p_which NOT IN ('missing', 'failed', 'all') THEN
        RAISE EXCEPTION 'which "%" is none: missing, failed or all', coalesce(p_which, '') USING ERRCODE = 'HW030';
    ELSIF p_closed_days IS NULL OR p_closed_days NOT IN ('skip', 'load') THEN
        RAISE EXCEPTION 'closed_days "%" is none: skip or load', coalesce(p_closed_days, '') USING ERRCODE = 'HW030';
    ELSIF p_direction IS NULL OR p_direction NOT IN ('oldest', 'newest') THEN
        RAISE EXCEPTION 'direction "%" is none: oldest or newest', coalesce(p_direction, '') USING ERRCODE = 'HW030';
    END IF;
    SELECT string_agg(coalesce(w::text, 'null'), ', ') INTO unknown
    FROM unnest(p_weekdays) AS w WHERE w NOT BETWEEN 1 AND 7 OR w IS NULL;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'weekday % does not exist: 1 (Monday) to 7 (Sunday)', unknown USING ERRCODE = 'HW030';
    ELSIF cardinality(p_weekdays) = 0 THEN
        RAISE EXCEPTION 'no weekday is asked for: 1 (Monday) to 7 (Sunday), or null for every day' USING ERRCODE = 'HW030';
    END IF;
    SELECT string_agg(coalesce(e::text, 'null'), ', ') INTO unknown
    FROM unnest(p_excluded_dates) AS e
    WHERE e IS NULL OR e < p_from::date OR e >= p_to;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'excluded date % does not lie between % and %', unknown, to_char(p_from, 'YYYY-MM-DD HH24:MI'),
            to_char(p_to, 'YYYY-MM-DD HH24:MI') USING ERRCODE = 'HW030';
    END IF;
    IF control.window_at_or_after(known, p_from) + known.step > p_to THEN
        RAISE EXCEPTION 'no window of % lies wholly between % and %: its windows are % long, one begins at %', p_dataset,
            to_char(p_from, 'YYYY-MM-DD HH24:MI'), to_char(p_to, 'YYYY-MM-DD HH24:MI'), control.span_in_words(known.step),
            to_char(control.window_at_or_after(known, p_from), 'YYYY-MM-DD HH24:MI') USING ERRCODE = 'HW030';
    END IF;
    RETURN known;
END;
$$;

-- What a backfill would do: one row a window in the order of loading, with what happens to it and why. It is what an
-- INSERT into control.backfills writes down, so what it lists is what runs. Changes nothing. A day counts where every
-- UTC day that a window touches is one.
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
-- How many windows a series gives is a guess to the planner; looking each up in a table of them would take minutes.
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
SET enable_nestloop = OFF
AS $$
#variable_conflict use_column
DECLARE
    known control.datasets := control.check_backfill(
        p_dataset, p_from, p_to, p_which, p_excluded_dates, p_weekdays, p_closed_days, p_direction
    );
    moment timestamptz := ops.clock();
    due timestamptz := control.due_until(known, moment);
    step interval := make_interval(secs => extract(EPOCH FROM known.step));
    excluded tstzmultirange := (
        SELECT range_agg(tstzrange(e, e + 1, '[)')) FROM unnest(p_excluded_dates) AS e
    );
    other_weekdays tstzmultirange := (
        SELECT range_agg(tstzrange(d, d + interval '1 day', '[)'))
        FROM generate_series(date_trunc('day', p_from), p_to, interval '1 day') AS d
        WHERE NOT extract(ISODOW FROM d) = ANY(p_weekdays)
    );
    weekdays_named text := (
        SELECT string_agg(to_char(date '2026-01-04' + w, 'FMDay'), ', ' ORDER BY w) FROM unnest(p_weekdays) AS w
    );
    closed tstzmultirange := (
        SELECT range_agg(tstzrange(c.day, c.day + 1, '[)')) FROM control.sound_closed_days AS c
        WHERE p_closed_days = 'skip' AND coalesce(c.dataset, p_dataset) = p_dataset
    );
BEGIN
    -- A window of which some days are closed and the policy skips the others is left out as well.
    closed := closed + (
        SELECT coalesce(range_agg(tstzrange(d, d + interval '1 day', '[)')), '{}')
        FROM generate_series(date_trunc('day', p_from), p_to, interval '1 day') AS d
        INNER JOIN control.catchup_policies AS p ON p.dataset = p_dataset
        WHERE extract(ISODOW FROM d) = ANY(p.skip_weekdays)
    );
    RETURN QUERY
    WITH windows AS MATERIALIZED (
        SELECT
            tstzrange(edge, edge + step, '[)') AS window_range,
            tstzrange(
                date_trunc('day', edge), date_trunc('day', edge + step - interval '1 microsecond') + interval '1 day', '[)'
            ) AS days
        FROM generate_series(control.window_at_or_after(known, p_from), p_to - step, step) AS edge
    ),

    in_work AS (
        SELECT DISTINCT ON (a.window_range) a.window_range, a.stage, a.run_id
        FROM ops.attempts AS a
        INNER JOIN ops.live_attempts AS live USING (attempt_id)
        WHERE a.dataset = p_dataset AND a.state = 'running'
        ORDER BY a.window_range, a.attempt_id DESC
    ),

    troubled AS (
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
    ),

    -- Days that are closed are the backfill's own to say.
    rules AS MATERIALIZED (
        SELECT u.place, u.rule, u.reason, u.window_ranges
        FROM control.unwanted_by_rule(p_dataset, moment, tstzrange(p_from, p_to)) AS u
        WHERE u.rule <> 'skip_closed_days'
    ),

    -- What a person cancelled of the policy's, and nobody has asked for since, the policy does not ask for again.
    cancelled AS MATERIALIZED (
        SELECT latest.window_range, 'backfill ' || latest.backfill_id || ' was ' || latest.note AS note
        FROM (
            SELECT DISTINCT ON (b.window_range) b.window_range, b.backfill_id, b.state, k.via, k.note
            FROM control.backfill_windows AS b
            INNER JOIN control.backfills AS k USING (backfill_id)
            WHERE p_via = 'policy' AND k.dataset = p_dataset AND b.action = 'load'
            ORDER BY b.window_range, b.backfill_id DESC
        ) AS latest
        WHERE latest.state = 'cancelled' AND latest.via = 'policy'
    ),

    known_of AS (
        SELECT
            w.window_range,
            w.days,
            l.version,
            l.run_id AS landed_by,
            i.stage AS live_stage,
            i.run_id AS live_run,
            t.stage AS failed_stage,
            t.error,
            t.waits,
            h.sentence AS held,
            s.rule AS skip_rule,
            s.reason AS skip_reason,
            c.note AS cancelled
        FROM windows AS w
        LEFT JOIN (
            SELECT l.window_range, l.version, l.run_id FROM ops.window_ledger AS l WHERE l.dataset = p_dataset
        ) AS l ON w.window_range = l.window_range
        LEFT JOIN (
            SELECT h.window_range, h.sentence FROM ops.held_windows AS h WHERE h.dataset = p_dataset
        ) AS h ON w.window_range = h.window_range
        LEFT JOIN in_work AS i ON w.window_range = i.window_range
        LEFT JOIN troubled AS t ON w.window_range = t.window_range
        LEFT JOIN (
            SELECT s.window_range, s.rule, s.reason FROM ops.skipped_windows AS s WHERE s.dataset = p_dataset
        ) AS s ON w.window_range = s.window_range
        LEFT JOIN cancelled AS c ON w.window_range = c.window_range
    ),

    judged AS (
        SELECT
            k.*,
            CASE
                WHEN k.days <@ excluded THEN ARRAY['excluded date', 'this backfill leaves the day out']
                WHEN k.days <@ other_weekdays
                    THEN ARRAY[
                        'weekday',
                        to_char(lower(k.window_range), 'FMDay') || ' is none of the weekdays asked for: ' || weekdays_named
                    ]
                WHEN verdict.rule IS NOT NULL THEN ARRAY[verdict.rule, verdict.reason]
                WHEN k.days <@ closed
                    THEN ARRAY['skip_closed_days', control.closed_because(p_dataset, k.window_range)]
                WHEN upper(k.window_range) > due
                    THEN ARRAY['not due', 'it is due at ' || to_char(
                        upper(k.window_range) + known.due_after, 'YYYY-MM-DD HH24:MI'
                    )]
                WHEN k.live_stage IS NOT NULL
                    THEN ARRAY['in work', k.live_stage || ' by ' || k.live_run || ' is running']
                WHEN k.held IS NOT NULL THEN ARRAY['held', k.held || '; see scripts/highwater release']
                WHEN k.version IS NOT NULL AND p_which <> 'all'
                    THEN ARRAY['landed', 'version ' || k.version || ' by ' || k.landed_by]
                WHEN k.skip_rule IS NOT NULL AND k.version IS NULL AND p_which <> 'all'
                    THEN ARRAY[k.skip_rule, k.skip_reason]
                WHEN p_which = 'failed' AND k.failed_stage IS NULL
                    THEN ARRAY['not failed', 'it is missing, but no attempt at it has failed']
                WHEN
                    p_via IN ('policy', 'recovery')
                    AND k.version IS NULL AND k.waits
                    THEN ARRAY['refused', 'it waits for a person: ' || k.failed_stage || ': ' || k.error]
                WHEN k.cancelled IS NOT NULL THEN ARRAY['cancelled', k.cancelled]
            END AS skip
        FROM known_of AS k
        LEFT JOIN LATERAL (
            SELECT u.rule, u.reason FROM rules AS u
            WHERE u.window_ranges @> k.window_range
            ORDER BY u.place
            LIMIT 1
        ) AS verdict ON TRUE
    )

    SELECT
        (row_number() OVER (
            ORDER BY
                CASE WHEN p_direction = 'newest' THEN j.window_range END DESC,
                j.window_range
        ))::integer,
        j.window_range,
        CASE WHEN j.skip IS NULL THEN 'load' ELSE 'skip' END,
        j.skip[1],
        coalesce(
            j.skip[2],
            CASE
                WHEN j.version IS NOT NULL THEN 'version ' || j.version || ' is loaded again'
                WHEN j.failed_stage IS NOT NULL THEN 'it failed in ' || j.failed_stage || ': ' || j.error
                WHEN j.skip_rule IS NOT NULL THEN 'it was skipped by the rule ' || j.skip_rule
                ELSE 'it is missing'
            END
        )
    FROM judged AS j
    ORDER BY 1;
END;
$$;

-- A window of a plan as a line of its fingerprint: plans are the same if the md5 of their lines is. Short, and stable
-- so that it is inlined: a plan may have a hundred thousand.
CREATE OR REPLACE FUNCTION control.plan_line(p_window tstzrange, p_action text, p_rule text) RETURNS text
LANGUAGE sql STABLE
RETURN extract(EPOCH FROM lower(p_window))::text || p_action || coalesce(p_rule, '');

-- A row comes in: refused, or made what it may be, before anything starts.
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
    -- Two at once over the same windows take turns, so that the second sees the first.
    PERFORM ops.take_turn('backfills of ' || new.dataset);
    RETURN new;
END;
$$;

-- Writes down its windows by the plan; refuses it where another backfill has them, or its plan is not the one shown.
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
        SELECT md5(string_agg(control.plan_line(w.window_range, w.action, w.rule), E'\n' ORDER BY w.place))
        FROM control.backfill_windows AS w WHERE w.backfill_id = new.backfill_id
    ) THEN
        RAISE EXCEPTION 'the plan for % changed since it was shown: look at it again', new.dataset USING ERRCODE = 'HW032';
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

REVOKE EXECUTE ON FUNCTION control.take_backfill, control.write_backfill_windows FROM public;
REVOKE EXECUTE ON FUNCTION control.check_backfill, control.plan_backfill FROM public;
GRANT EXECUTE ON FUNCTION control.check_backfill, control.plan_backfill TO loader, analyst;
