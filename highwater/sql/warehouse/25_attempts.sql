-- Attempts whose process is alive: the session that opened them is still connected.
CREATE OR REPLACE VIEW ops.live_attempts AS
SELECT a.attempt_id
FROM ops.attempts AS a
INNER JOIN ops.live_sessions AS s ON a.claim = s.claim AND a.backend_pid = s.backend_pid
WHERE a.state = 'running';

-- One row per try of a stage, and whether an attempt at its window begins with it. An attempt is the pass of a run
-- through the stages of a window; another begins whenever the run returns to a stage that it had begun, because that
-- failed or was cleared. So consecutive stages are one attempt.
CREATE OR REPLACE VIEW ops.stage_tries AS
SELECT
    t.attempt_id,
    t.dataset,
    t.window_range,
    t.stage,
    t.dag_id,
    t.run_id,
    t.state,
    t.started_at,
    t.ended_at,
    t.seconds,
    t.peak_memory_bytes,
    coalesce(
        t.stage_began <= lag(t.stage_began) OVER (
            PARTITION BY t.dataset, t.window_range, t.dag_id, t.run_id ORDER BY t.attempt_id
        ),
        TRUE
    ) AS begins_attempt
FROM (
    SELECT
        a.*,
        min(a.attempt_id) OVER (PARTITION BY a.dataset, a.window_range, a.dag_id, a.run_id, a.stage) AS stage_began
    FROM ops.attempts AS a
) AS t;

-- Opens an attempt, marks as lost those whose process died, and takes a claim for the caller's session.
CREATE OR REPLACE FUNCTION ops.start_attempt(
    p_dataset text, p_window tstzrange, p_stage text, p_dag_id text, p_run_id text, p_try integer,
    p_host text, p_pid integer
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    opened integer;
BEGIN
    UPDATE ops.attempts AS dead
    SET state = 'lost'
    WHERE
        dead.state = 'running' AND dead.dataset = p_dataset
        AND NOT EXISTS (SELECT FROM ops.live_attempts AS live WHERE live.attempt_id = dead.attempt_id);
    -- The claim is taken before the row is visible; otherwise another session would take the attempt for dead.
    INSERT INTO ops.attempts (
        dataset, window_range, stage, dag_id, run_id, try_number, host, pid, started_at, claim, backend_pid
    )
    VALUES (
        p_dataset, p_window, p_stage, p_dag_id, p_run_id, p_try, p_host, p_pid, ops.clock(), ops.take_claim(),
        pg_backend_pid()
    )
    RETURNING attempt_id INTO opened;
    RETURN opened;
END;
$$;

-- Closes an attempt that its own session opened.
CREATE OR REPLACE FUNCTION ops.finish_attempt(
    p_attempt integer, p_state text, p_error text, p_seconds numeric, p_rows bigint, p_peak bigint, p_error_kind text,
    p_source text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE ops.attempts AS a
    SET
        state = p_state, error = control.cut(p_error), ended_at = ops.clock(), seconds = p_seconds, row_count = p_rows,
        peak_memory_bytes = p_peak, error_kind = p_error_kind, source = p_source
    FROM ops.live_sessions AS s
    WHERE
        a.attempt_id = p_attempt AND a.state = 'running' AND a.backend_pid = pg_backend_pid()
        AND s.claim = a.claim AND s.backend_pid = a.backend_pid;
    IF NOT found AND NOT EXISTS (
        SELECT FROM ops.attempts AS a WHERE a.attempt_id = p_attempt AND a.backend_pid = pg_backend_pid()
    ) THEN
        RAISE EXCEPTION 'attempt % belongs to another session: only the session that opened it may end it', p_attempt
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END;
$$;

-- Refuses to record what a run found unless the loader is at work for that run now.
CREATE OR REPLACE FUNCTION ops.assert_at_work(p_dataset text, p_dag_id text, p_run_id text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM ops.attempts AS a INNER JOIN ops.live_attempts AS live USING (attempt_id)
        WHERE a.dataset = p_dataset AND a.dag_id = p_dag_id AND a.run_id = p_run_id
    ) THEN
        RAISE EXCEPTION 'run % of % has no attempt at % under way: results are recorded only during an attempt', p_run_id,
            p_dag_id, p_dataset USING ERRCODE = 'insufficient_privilege';
    END IF;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.start_attempt, ops.finish_attempt, ops.assert_at_work FROM public;
GRANT EXECUTE ON FUNCTION ops.start_attempt, ops.finish_attempt TO loader;
GRANT SELECT ON ops.attempts, ops.live_attempts, ops.stage_tries TO loader, analyst;
