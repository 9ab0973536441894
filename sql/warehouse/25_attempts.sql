-- One row per try of a stage, so that concurrency and cost are queries.
CREATE TABLE IF NOT EXISTS ops.attempts (
    attempt_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    stage text NOT NULL,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    try_number integer NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'succeeded', 'retrying', 'failed', 'lost')),
    error text,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    seconds numeric(12, 3),
    row_count bigint,
    peak_memory_bytes bigint
);

ALTER TABLE ops.attempts
ADD COLUMN IF NOT EXISTS error_kind text,
ADD COLUMN IF NOT EXISTS source text;

CREATE INDEX IF NOT EXISTS attempts_by_window ON ops.attempts (dataset, lower(window_range));
CREATE INDEX IF NOT EXISTS attempts_by_run ON ops.attempts (dag_id, run_id);
CREATE INDEX IF NOT EXISTS attempts_of_schedule ON ops.attempts (dataset, dag_id, lower(window_range))
WHERE run_id ~ '^(scheduled|backfill)__';
CREATE INDEX IF NOT EXISTS attempts_running ON ops.attempts (attempt_id) WHERE state = 'running';

COMMENT ON COLUMN ops.attempts.seconds IS 'Measured by a clock that does not jump';
COMMENT ON COLUMN ops.attempts.error_kind IS 'The class of the error: by it the trouble is sorted';
COMMENT ON COLUMN ops.attempts.source IS 'The source that was away';
COMMENT ON COLUMN ops.attempts.state IS 'lost: the process died; retrying: failed, and Airflow tries again';

-- Attempts whose process lives: it holds an advisory lock for as long as its connection stands, so that a kill -9 or
-- a cut network ends the claim without anyone cleaning up. 18807 is "Hw" in ASCII.
CREATE OR REPLACE VIEW ops.live_attempts AS
SELECT objid::integer AS attempt_id
FROM pg_catalog.pg_locks
WHERE
    locktype = 'advisory' AND classid = 18807 AND objsubid = 2 AND granted
    AND database = (
        SELECT oid FROM pg_catalog.pg_database
        WHERE datname = current_database()
    );

-- Opens an attempt, declares those lost whose process died, and holds the claim for the caller's session.
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
    opened := nextval(pg_get_serial_sequence('ops.attempts', 'attempt_id'));
    -- Before the row can be seen, lest another session take it for dead.
    PERFORM pg_advisory_lock(18807, opened);
    INSERT INTO ops.attempts (
        attempt_id, dataset, window_range, stage, dag_id, run_id, try_number, host, pid, started_at
    )
    OVERRIDING SYSTEM VALUE
    VALUES (opened, p_dataset, p_window, p_stage, p_dag_id, p_run_id, p_try, p_host, p_pid, ops.clock());
    RETURN opened;
END;
$$;

-- Closes an attempt that its own session opened. The first form did not sort the error.
DROP FUNCTION IF EXISTS ops.finish_attempt(integer, text, text, numeric, bigint, bigint);
CREATE OR REPLACE FUNCTION ops.finish_attempt(
    p_attempt integer, p_state text, p_error text, p_seconds numeric, p_rows bigint, p_peak bigint, p_error_kind text,
    p_source text
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE ops.attempts
    SET
        state = p_state, error = p_error, ended_at = ops.clock(), seconds = p_seconds, row_count = p_rows,
        peak_memory_bytes = p_peak, error_kind = p_error_kind, source = p_source
    WHERE attempt_id = p_attempt AND state = 'running';
$$;

REVOKE EXECUTE ON FUNCTION ops.start_attempt, ops.finish_attempt FROM public;
GRANT EXECUTE ON FUNCTION ops.start_attempt, ops.finish_attempt TO loader;
GRANT SELECT ON ops.attempts, ops.live_attempts TO loader, analyst;
