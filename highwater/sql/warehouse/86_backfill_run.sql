-- The life of a backfill: begin, load window by window, end; pause, resume, cancel. Run as publisher; idempotent.

-- Locks a backfill until the transaction ends; refuses an unknown one.
CREATE OR REPLACE FUNCTION control.lock_backfill(p_backfill integer) RETURNS control.backfills
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills;
BEGIN
    SELECT * INTO held FROM control.backfills AS b WHERE b.backfill_id = p_backfill FOR UPDATE;
    IF NOT found THEN
        RAISE EXCEPTION 'there is no backfill %; the latest are: %', p_backfill, (
            SELECT coalesce(string_agg(b.backfill_id::text, ', ' ORDER BY b.backfill_id DESC), 'none')
            FROM (SELECT b.backfill_id FROM control.backfills AS b ORDER BY 1 DESC LIMIT 5) AS b
        ) USING ERRCODE = 'HW033';
    END IF;
    RETURN held;
END;
$$;

-- Refuses an action that the state of a backfill forbids; checked by the action, and before a user is asked to confirm
-- it.
CREATE OR REPLACE FUNCTION control.refuse_state(held control.backfills, p_verb text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    valid CONSTANT text[] := CASE p_verb
        WHEN 'cancelled' THEN '{requested,running,paused,stopped,failed}'::text[]
        WHEN 'paused' THEN '{requested,running}'::text[]
        WHEN 'resumed' THEN '{paused,stopped,failed}'::text[]
    END;
BEGIN
    -- A backfill that the policy paused would resume automatically: a person may pause it for good.
    IF NOT (held.state = ANY(valid) OR (p_verb = 'paused' AND held.state = 'paused' AND held.held_by = 'policy')) THEN
        RAISE EXCEPTION 'backfill % is %: only one that is % can be %', held.backfill_id, held.state,
            control.or_list(valid), p_verb USING ERRCODE = 'HW033';
    END IF;
END;
$$;

-- Locks a backfill for an action; refuses one whose state forbids it.
CREATE OR REPLACE FUNCTION control.lock_backfill_to_be(p_verb text, p_backfill integer) RETURNS control.backfills
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held CONSTANT control.backfills := control.lock_backfill(p_backfill);
BEGIN
    PERFORM control.refuse_state(held, p_verb);
    RETURN held;
END;
$$;

-- Lets a backfill wait for a new Airflow run, and notes why. Returns its row.
CREATE OR REPLACE FUNCTION control.request_again(p_backfill integer, p_note text) RETURNS control.backfills
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE control.backfills AS b
    SET
        state = 'requested', starts = b.starts + 1, dag_run_id = NULL, ended_at = NULL, held_by = NULL,
        waits_since = ops.clock(), note = p_note
    WHERE b.backfill_id = p_backfill
    RETURNING b.*
$$;

-- Sets failed windows of a backfill back to planned: all, or the given one.
CREATE OR REPLACE FUNCTION control.plan_failed_again(p_backfill integer, p_window_no integer DEFAULT NULL) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE control.backfill_windows AS w
    SET state = 'planned', error = NULL, ended_at = NULL
    WHERE
        w.backfill_id = p_backfill AND w.state = 'failed'
        AND (p_window_no IS NULL OR w.window_no = p_window_no)
$$;

-- Cancels a backfill: no more windows are begun, those that a live lane holds finish.
CREATE OR REPLACE FUNCTION control.cancel_backfill(p_backfill integer, p_by text DEFAULT session_user) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM control.lock_backfill_to_be('cancelled', p_backfill);
    UPDATE control.backfills AS b
    SET state = 'cancelled', ended_at = ops.clock(), held_by = NULL, note = 'cancelled by ' || p_by
    WHERE b.backfill_id = p_backfill;
    UPDATE control.backfill_windows AS w
    SET state = 'cancelled', ended_at = ops.clock()
    WHERE
        w.backfill_id = p_backfill
        AND (
            w.state = 'planned'
            OR (w.state = 'running' AND NOT EXISTS (SELECT FROM ops.live_claims AS c WHERE c.window_no = w.window_no))
        );
END;
$$;

-- Pauses a backfill: no more windows are begun until it is resumed, those that a live lane holds finish.
CREATE OR REPLACE FUNCTION control.pause_backfill(p_backfill integer, p_by text DEFAULT session_user) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM control.lock_backfill_to_be('paused', p_backfill);
    UPDATE control.backfills AS b
    SET state = 'paused', held_by = 'person', note = 'paused by ' || p_by
    WHERE b.backfill_id = p_backfill;
END;
$$;

-- Resumes a backfill where it stopped; windows that failed are tried again.
CREATE OR REPLACE FUNCTION control.resume_backfill(p_backfill integer, p_by text DEFAULT session_user) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held CONSTANT control.backfills := control.lock_backfill_to_be('resumed', p_backfill);
BEGIN
    PERFORM ops.take_turn('backfills of ' || held.dataset);
    PERFORM control.plan_failed_again(p_backfill);
    PERFORM control.refuse_overlap(p_backfill, held.dataset);
    PERFORM control.request_again(p_backfill, 'resumed by ' || p_by);
END;
$$;

-- Begins a backfill for an Airflow run and returns its row: only if its state is then running, lanes have work.
CREATE OR REPLACE FUNCTION control.begin_backfill(p_backfill integer, p_run_id text) RETURNS control.backfills
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills := control.lock_backfill(p_backfill);
BEGIN
    IF held.state IN ('requested', 'running') THEN
        UPDATE control.backfills AS b
        SET
            state = 'running', dag_run_id = p_run_id, run_is_over = FALSE, started_at = coalesce(b.started_at, ops.clock()),
            running_since = ops.clock(), note = NULL
        WHERE b.backfill_id = p_backfill
        RETURNING b.* INTO held;
    END IF;
    RETURN held;
END;
$$;

-- Whether a backfill may load a window now, and if not, why. While its dataset is stopped, one window may be let
-- through as a test whether the dataset works again: then is_test is true.
CREATE OR REPLACE FUNCTION control.may_load_now(
    held control.backfills, OUT allowed boolean, OUT reason text, OUT is_test boolean
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    reason := ops.stopped_because(held.dataset);
    allowed := reason IS NULL OR ops.let_one_through(held.dataset);
    is_test := allowed AND reason IS NOT NULL;
    IF allowed THEN
        SELECT c.hold, c.reason INTO allowed, reason FROM control.conditions_hold(held.dataset) AS c;
    END IF;
    IF allowed AND held.via = 'policy' THEN
        SELECT c.is_on, c.reason INTO allowed, reason FROM control.catchup_is_on(held.dataset) AS c;
    END IF;
END;
$$;

-- The first failed window of a backfill, to test whether its dataset works again; null if another backfill is to load
-- it.
CREATE OR REPLACE FUNCTION control.failed_window_to_test(held control.backfills) RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT f.window_no
    FROM (
        SELECT w.window_no, w.window_range FROM control.backfill_windows AS w
        WHERE w.backfill_id = held.backfill_id AND w.state = 'failed'
        ORDER BY w.place
        LIMIT 1
    ) AS f
    WHERE control.overlap_of(held.dataset, ARRAY[f.window_range], held.backfill_id) IS NULL
$$;

-- Skips a window of a backfill by a rule.
CREATE OR REPLACE FUNCTION control.skip_backfill_window(p_window_no integer, p_rule text, p_reason text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE control.backfill_windows AS w
    SET state = 'skipped', rule = p_rule, reason = p_reason, ended_at = ops.clock()
    WHERE w.window_no = p_window_no
$$;

-- Lets the calling session claim a window for a run and returns true; or, where there is nothing to load any more,
-- records why and returns false.
CREATE OR REPLACE FUNCTION control.claim_or_settle(
    held control.backfills, candidate control.backfill_windows, p_run_id text
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    hold CONSTANT text := ops.held_because(held.dataset, candidate.window_range);
    landed ops.window_ledger;
    unwanted record;
BEGIN
    SELECT * INTO landed FROM ops.window_ledger AS l
    WHERE l.dataset = held.dataset AND l.window_range = candidate.window_range;
    SELECT * INTO unwanted FROM control.not_wanted_any_more(held, candidate.window_range);
    IF candidate.state = 'running' AND landed.run_id = candidate.run_id AND landed.landed_at >= candidate.started_at THEN
        -- Its lane died after the window landed.
        UPDATE control.backfill_windows AS w
        SET state = 'landed', version = landed.version, ended_at = landed.landed_at
        WHERE w.window_no = candidate.window_no;
    ELSIF hold IS NOT NULL THEN
        PERFORM control.skip_backfill_window(candidate.window_no, 'held', hold);
    ELSIF landed.version IS NOT NULL AND held.which <> 'all' THEN
        PERFORM control.skip_backfill_window(
            candidate.window_no, 'landed meanwhile', 'version ' || landed.version || ' by ' || landed.run_id
        );
    ELSIF unwanted.rule IS NOT NULL THEN
        PERFORM control.skip_backfill_window(candidate.window_no, unwanted.rule, unwanted.reason);
    ELSE
        UPDATE control.backfill_windows AS w
        SET
            state = 'running', run_id = p_run_id, started_at = ops.clock(), claim = ops.take_claim(),
            backend_pid = pg_backend_pid()
        WHERE w.window_no = candidate.window_no;
        RETURN TRUE;
    END IF;
    RETURN FALSE;
END;
$$;

-- The next window for a lane. Verdicts: 'take' (the lane holds the window for as long as its connection is open),
-- 'wait' (the limit of running windows is reached), 'end' (no window is left, or the backfill was paused, cancelled or
-- begun by another run).
CREATE OR REPLACE FUNCTION control.next_backfill_window(
    p_backfill integer, p_run_id text, OUT verdict text, OUT window_no integer, OUT window_range tstzrange, OUT why text
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held CONSTANT control.backfills := control.lock_backfill(p_backfill);
    may record;
    candidate control.backfill_windows;
BEGIN
    verdict := 'end';
    IF held.state <> 'running' OR held.dag_run_id IS DISTINCT FROM p_run_id THEN
        why := CASE WHEN held.state <> 'running' THEN 'it is ' || held.state ELSE held.dag_run_id || ' has begun it' END;
        RETURN;
    END IF;
    SELECT * INTO may FROM control.may_load_now(held);
    IF NOT may.allowed THEN
        UPDATE control.backfills AS b
        SET state = 'paused', held_by = 'policy', note = 'paused: ' || may.reason
        WHERE b.backfill_id = p_backfill;
        why := may.reason;
        RETURN;
    END IF;
    IF (
        SELECT count(*) FROM control.backfill_windows AS w INNER JOIN ops.live_claims AS c USING (window_no)
        WHERE w.backfill_id = p_backfill AND w.state = 'running'
    ) >= held.max_active THEN
        verdict := 'wait';
        RETURN;
    END IF;
    IF may.is_test THEN
        PERFORM control.plan_failed_again(p_backfill, f.window_no)
        FROM control.failed_window_to_test(held) AS f (window_no) WHERE f.window_no IS NOT NULL;
    END IF;
    FOR candidate IN
        SELECT * FROM control.backfill_windows AS w
        WHERE w.backfill_id = p_backfill AND w.state IN ('planned', 'running')
        ORDER BY w.place
    LOOP
        -- A running window is available only if its lane has died.
        CONTINUE WHEN EXISTS (SELECT FROM ops.live_claims AS c WHERE c.window_no = candidate.window_no);
        IF control.claim_or_settle(held, candidate, p_run_id) THEN
            verdict := 'take';
            window_no := candidate.window_no;
            window_range := candidate.window_range;
            RETURN;
        END IF;
    END LOOP;
    why := 'no window is left';
END;
$$;

-- Stops a backfill that no lane can load, until the cause is fixed and it is resumed.
CREATE OR REPLACE FUNCTION control.stop_backfill(p_backfill integer, p_why text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE control.backfills AS b
    SET state = 'stopped', note = p_why
    WHERE b.backfill_id = p_backfill AND b.state = 'running'
$$;

-- Records the result of a window that a lane holds. A window that landed and was replaced or rolled back since counts
-- as landed. One that a person put on hold before it could land is skipped, with p_error as the reason.
CREATE OR REPLACE FUNCTION control.end_backfill_window(
    p_window_no integer, p_state text, p_version integer, p_error text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    ended control.backfill_windows;
BEGIN
    IF p_state = 'landed' AND NOT EXISTS (
        SELECT FROM control.backfill_windows AS w
        INNER JOIN control.backfills AS b USING (backfill_id)
        INNER JOIN ops.window_ledger AS l ON l.dataset = b.dataset AND l.window_range = w.window_range
        WHERE w.window_no = p_window_no AND l.version >= p_version
    ) THEN
        RAISE EXCEPTION 'window % of the backfill has not landed at version %: the ledger says otherwise', p_window_no,
            p_version USING ERRCODE = 'HW034';
    END IF;
    UPDATE control.backfill_windows AS w
    SET
        state = p_state, version = p_version, ended_at = ops.clock(),
        rule = CASE p_state WHEN 'skipped' THEN 'held' ELSE w.rule END,
        reason = CASE p_state WHEN 'skipped' THEN p_error ELSE w.reason END,
        error = CASE p_state WHEN 'skipped' THEN NULL ELSE p_error END
    WHERE w.window_no = p_window_no AND w.state = 'running' AND w.backend_pid = pg_backend_pid()
    RETURNING w.* INTO ended;
    IF ended.state = 'failed' THEN
        UPDATE control.backfills AS b
        SET
            state = 'stopped',
            note = 'stopped at the window from ' || to_char(lower(ended.window_range), 'YYYY-MM-DD HH24:MI') || ': ' || p_error
        WHERE b.backfill_id = ended.backfill_id AND b.state = 'running' AND b.on_failure = 'stop';
    END IF;
END;
$$;

-- Ends a backfill whose lanes have ended, and notes which windows are left or failed. Returns its row.
CREATE OR REPLACE FUNCTION control.end_backfill(p_backfill integer, p_run_id text) RETURNS control.backfills
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills := control.lock_backfill(p_backfill);
    to_do bigint;
    failures bigint;
BEGIN
    IF held.dag_run_id IS DISTINCT FROM p_run_id THEN
        RETURN held;
    END IF;
    UPDATE control.backfills AS b SET run_is_over = TRUE WHERE b.backfill_id = p_backfill;
    UPDATE control.backfill_windows AS w
    SET state = CASE held.state WHEN 'cancelled' THEN 'cancelled' ELSE 'planned' END
    WHERE
        w.backfill_id = p_backfill AND w.state = 'running'
        AND NOT EXISTS (SELECT FROM ops.live_claims AS c WHERE c.window_no = w.window_no);
    SELECT
        count(*) FILTER (WHERE w.state IN ('planned', 'running')),
        count(*) FILTER (WHERE w.state = 'failed')
    INTO to_do, failures
    FROM control.backfill_windows AS w
    WHERE w.backfill_id = p_backfill;
    IF held.state = 'running' THEN
        UPDATE control.backfills AS b
        SET
            state = CASE WHEN to_do > 0 THEN 'stopped' WHEN failures > 0 THEN 'failed' ELSE 'done' END,
            ended_at = CASE WHEN to_do = 0 THEN ops.clock() END,
            note = CASE
                WHEN to_do > 0 THEN 'its run ended before its windows did: scripts/highwater backfill resume ' || p_backfill
                WHEN failures > 0
                    THEN failures || ' windows failed: scripts/highwater backfill resume ' || p_backfill
                        || ' tries them again'
            END
        WHERE b.backfill_id = p_backfill
        RETURNING b.* INTO held;
    END IF;
    RETURN held;
END;
$$;

-- The backfills that wait for an Airflow run: those requested, and those that the policy paused and now wants again.
CREATE OR REPLACE FUNCTION control.backfills_to_start() RETURNS SETOF control.backfills
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM control.request_again(held.backfill_id, 'the policy wants it again')
    FROM control.backfills AS held
    CROSS JOIN LATERAL control.conditions_hold(held.dataset) AS c
    CROSS JOIN LATERAL control.catchup_is_on(held.dataset) AS o
    WHERE
        held.state = 'paused' AND held.held_by = 'policy'
        AND c.hold AND (o.is_on OR held.via <> 'policy')
        AND (
            ops.stopped_because(held.dataset) IS NULL
            OR (
                ops.let_one_through(held.dataset, FALSE)
                AND EXISTS (
                    SELECT FROM control.backfill_windows AS w
                    WHERE w.backfill_id = held.backfill_id AND w.state IN ('planned', 'failed')
                )
            )
        );
    RETURN QUERY SELECT * FROM control.backfills AS b WHERE b.state = 'requested';
END;
$$;

-- Notes why Airflow has not started a run for a backfill; the note is kept until a run begins it.
CREATE OR REPLACE FUNCTION control.note_not_started(p_backfill integer, p_why text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE control.backfills AS b SET note = 'not started: ' || left(p_why, 500)
    WHERE b.backfill_id = p_backfill AND b.state = 'requested'
$$;

REVOKE EXECUTE ON FUNCTION
control.lock_backfill, control.lock_backfill_to_be, control.request_again, control.plan_failed_again,
control.cancel_backfill, control.pause_backfill, control.resume_backfill, control.begin_backfill, control.may_load_now,
control.failed_window_to_test, control.skip_backfill_window, control.claim_or_settle, control.next_backfill_window,
control.stop_backfill, control.end_backfill_window, control.end_backfill, control.backfills_to_start,
control.note_not_started
FROM public;
GRANT EXECUTE ON FUNCTION control.note_not_started TO operator;
-- Actions of a person, whom each records: Airflow runs may do none of them.
REVOKE EXECUTE ON FUNCTION control.cancel_backfill, control.pause_backfill, control.resume_backfill FROM loader;
GRANT EXECUTE ON FUNCTION control.cancel_backfill, control.pause_backfill, control.resume_backfill TO operator;
GRANT EXECUTE ON FUNCTION
control.begin_backfill, control.next_backfill_window, control.end_backfill_window, control.end_backfill,
control.backfills_to_start, control.stop_backfill
TO loader;
