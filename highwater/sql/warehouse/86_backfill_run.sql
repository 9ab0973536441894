-- What happens to a backfill: begun, window by window, ended; paused, resumed, cancelled. Run as publisher; again is
-- harmless.

-- Takes hold of a backfill until the transaction ends; refuses one that is not there.
CREATE OR REPLACE FUNCTION control.hold_backfill(p_backfill integer) RETURNS control.backfills
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

-- Refuses what may not be done to a backfill in the state it is in; asked by who does it, and by who is about to ask a
-- person whether to.
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
    -- What the policy paused would go on by itself, so a person may keep it from that.
    IF NOT (held.state = ANY(valid) OR (p_verb = 'paused' AND held.state = 'paused' AND held.held_by = 'policy')) THEN
        RAISE EXCEPTION 'backfill % is %: only one that is % can be %', held.backfill_id, held.state,
            regexp_replace(array_to_string(valid, ', '), ', (\w+)$', ' or \1'), p_verb USING ERRCODE = 'HW033';
    END IF;
END;
$$;

-- No window of it is begun any more; those in work finish. What no live lane holds is not in work.
CREATE OR REPLACE FUNCTION control.cancel_backfill(p_backfill integer, p_by text DEFAULT session_user) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills := control.hold_backfill(p_backfill);
BEGIN
    PERFORM control.refuse_state(held, 'cancelled');
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

-- No window of it is begun until it is resumed; those in work finish.
CREATE OR REPLACE FUNCTION control.pause_backfill(p_backfill integer, p_by text DEFAULT session_user) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills := control.hold_backfill(p_backfill);
BEGIN
    PERFORM control.refuse_state(held, 'paused');
    UPDATE control.backfills AS b
    SET state = 'paused', held_by = 'person', note = 'paused by ' || p_by
    WHERE b.backfill_id = p_backfill;
END;
$$;

-- It goes on where it stood: at the window that failed, if one did.
CREATE OR REPLACE FUNCTION control.resume_backfill(p_backfill integer, p_by text DEFAULT session_user) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills := control.hold_backfill(p_backfill);
BEGIN
    PERFORM control.refuse_state(held, 'resumed');
    PERFORM ops.take_turn('backfills of ' || held.dataset);
    UPDATE control.backfill_windows AS w
    SET state = 'planned', error = NULL, ended_at = NULL
    WHERE w.backfill_id = p_backfill AND w.state = 'failed';
    PERFORM control.refuse_overlap(p_backfill, held.dataset);
    UPDATE control.backfills AS b
    SET
        state = 'requested', starts = b.starts + 1, dag_run_id = NULL, ended_at = NULL, held_by = NULL,
        waits_since = ops.clock(), note = 'resumed by ' || p_by
    WHERE b.backfill_id = p_backfill;
END;
$$;

-- A run of Airflow takes a backfill on; returns it as it is then: only one that is running has work for lanes.
CREATE OR REPLACE FUNCTION control.begin_backfill(p_backfill integer, p_run_id text) RETURNS control.backfills
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills := control.hold_backfill(p_backfill);
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

-- A lane asks for its next window. Verdicts: 'take' (it is the lane's, for as long as its connection stands), 'wait'
-- (as many as may be are in work), 'end' (none is left, or it was paused, cancelled or taken on by another run).
CREATE OR REPLACE FUNCTION control.next_backfill_window(
    p_backfill integer, p_run_id text, OUT verdict text, OUT window_no integer, OUT window_range tstzrange, OUT why text
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills := control.hold_backfill(p_backfill);
    candidate control.backfill_windows;
    switch record;
    -- Whether this window is to show if what had stopped the dataset is mended.
    tries_one boolean;
    landed ops.window_ledger;
    unwanted record;
BEGIN
    verdict := 'end';
    IF held.state <> 'running' OR held.dag_run_id IS DISTINCT FROM p_run_id THEN
        why := CASE WHEN held.state <> 'running' THEN 'it is ' || held.state ELSE held.dag_run_id || ' has taken it on' END;
        RETURN;
    END IF;
    SELECT s IS NULL OR ops.let_one_through(held.dataset) AS hold, s AS reason INTO switch
    FROM ops.stopped_because(held.dataset) AS s;
    tries_one := switch.hold AND switch.reason IS NOT NULL;
    IF switch.hold THEN
        SELECT * INTO switch FROM control.conditions_hold(held.dataset);
    END IF;
    IF switch.hold AND held.via = 'policy' THEN
        SELECT c.is_on AS hold, c.reason INTO switch FROM control.catchup_is_on(held.dataset) AS c;
    END IF;
    IF NOT switch.hold THEN
        UPDATE control.backfills AS b
        SET state = 'paused', held_by = 'policy', note = 'paused: ' || switch.reason
        WHERE b.backfill_id = p_backfill;
        why := switch.reason;
        RETURN;
    END IF;
    IF (
        SELECT count(*) FROM control.backfill_windows AS w INNER JOIN ops.live_claims AS c USING (window_no)
        WHERE w.backfill_id = p_backfill AND w.state = 'running'
    ) >= held.max_active THEN
        verdict := 'wait';
        RETURN;
    END IF;
    UPDATE control.backfill_windows AS w
    SET state = 'planned', error = NULL, ended_at = NULL
    WHERE
        tries_one AND w.window_no = (
            SELECT f.window_no FROM control.backfill_windows AS f
            WHERE f.backfill_id = p_backfill AND f.state = 'failed'
            ORDER BY f.place
            LIMIT 1
        )
        AND control.overlap_of(held.dataset, ARRAY[w.window_range], p_backfill) IS NULL;
    FOR candidate IN
        SELECT * FROM control.backfill_windows AS w
        WHERE w.backfill_id = p_backfill AND w.state IN ('planned', 'running')
        ORDER BY w.place
    LOOP
        -- A running one is to be had only where its lane has died.
        CONTINUE WHEN EXISTS (SELECT FROM ops.live_claims AS c WHERE c.window_no = candidate.window_no);
        SELECT * INTO landed FROM ops.window_ledger AS l
        WHERE l.dataset = held.dataset AND l.window_range = candidate.window_range;
        SELECT * INTO unwanted FROM control.not_wanted_any_more(held, candidate.window_range);
        IF candidate.state = 'running' AND landed.run_id = candidate.run_id AND landed.landed_at >= candidate.started_at THEN
            UPDATE control.backfill_windows AS w
            SET state = 'landed', version = landed.version, ended_at = landed.landed_at
            WHERE w.window_no = candidate.window_no;
        ELSIF ops.held_because(held.dataset, candidate.window_range) IS NOT NULL THEN
            UPDATE control.backfill_windows AS w
            SET
                state = 'skipped', rule = 'held', ended_at = ops.clock(),
                reason = ops.held_because(held.dataset, candidate.window_range)
            WHERE w.window_no = candidate.window_no;
        ELSIF landed.version IS NOT NULL AND held.which <> 'all' THEN
            UPDATE control.backfill_windows AS w
            SET
                state = 'skipped', rule = 'landed meanwhile', ended_at = ops.clock(),
                reason = 'version ' || landed.version || ' by ' || landed.run_id
            WHERE w.window_no = candidate.window_no;
        ELSIF unwanted.rule IS NOT NULL THEN
            UPDATE control.backfill_windows AS w
            SET state = 'skipped', rule = unwanted.rule, reason = unwanted.reason, ended_at = ops.clock()
            WHERE w.window_no = candidate.window_no;
        ELSE
            UPDATE control.backfill_windows AS w
            SET
                state = 'running', run_id = p_run_id, started_at = ops.clock(), claim = ops.take_claim(),
                backend_pid = pg_backend_pid()
            WHERE w.window_no = candidate.window_no;
            verdict := 'take';
            window_no := candidate.window_no;
            window_range := candidate.window_range;
            RETURN;
        END IF;
    END LOOP;
    why := 'none is left';
END;
$$;

-- No lane can load it: it stands until that is mended and it is resumed.
CREATE OR REPLACE FUNCTION control.stop_backfill(p_backfill integer, p_why text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE control.backfills AS b
    SET state = 'stopped', note = p_why
    WHERE b.backfill_id = p_backfill AND b.state = 'running'
$$;

-- A lane says what became of the window it holds. What landed and was replaced or rolled back since has landed; what a
-- person had come to hold before it could land is skipped, and p_error says who and why.
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

-- The lanes of a run have ended: what is not done is told. Returns the backfill as it is then.
CREATE OR REPLACE FUNCTION control.end_backfill(p_backfill integer, p_run_id text) RETURNS control.backfills
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills := control.hold_backfill(p_backfill);
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

-- The backfills that wait for a run of Airflow: those asked for, and those that the policy paused and now wants again.
CREATE OR REPLACE FUNCTION control.backfills_to_start() RETURNS SETOF control.backfills
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE control.backfills AS b
    SET
        state = 'requested', starts = b.starts + 1, dag_run_id = NULL, held_by = NULL, waits_since = ops.clock(),
        note = 'the policy wants it again'
    FROM control.backfills AS held
    CROSS JOIN LATERAL control.conditions_hold(held.dataset) AS c
    CROSS JOIN LATERAL control.catchup_is_on(held.dataset) AS o
    WHERE
        b.backfill_id = held.backfill_id AND held.state = 'paused' AND held.held_by = 'policy'
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

-- Why Airflow has not started a run for it: it stands beside the backfill until one begins.
CREATE OR REPLACE FUNCTION control.note_not_started(p_backfill integer, p_why text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE control.backfills AS b SET note = 'not started: ' || left(p_why, 500)
    WHERE b.backfill_id = p_backfill AND b.state = 'requested'
$$;

REVOKE EXECUTE ON FUNCTION control.note_not_started FROM public;
GRANT EXECUTE ON FUNCTION control.note_not_started TO operator;

REVOKE EXECUTE ON FUNCTION
control.backfills_to_start, control.stop_backfill, control.cancel_backfill, control.pause_backfill,
control.resume_backfill, control.begin_backfill, control.next_backfill_window, control.end_backfill_window,
control.end_backfill, control.hold_backfill
FROM public;
-- Each says who does it: a run of Airflow does none of them.
REVOKE EXECUTE ON FUNCTION control.cancel_backfill, control.pause_backfill, control.resume_backfill FROM loader;
GRANT EXECUTE ON FUNCTION control.cancel_backfill, control.pause_backfill, control.resume_backfill TO operator;
GRANT EXECUTE ON FUNCTION
control.begin_backfill, control.next_backfill_window, control.end_backfill_window, control.end_backfill,
control.backfills_to_start, control.stop_backfill
TO loader;
