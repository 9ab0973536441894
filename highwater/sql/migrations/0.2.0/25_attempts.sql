-- One row per try of a stage, so that concurrency and cost are queries.
CREATE TABLE ops.attempts (
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
    peak_memory_bytes bigint,
    error_kind text,
    source text,
    claim integer,
    backend_pid integer,
    CONSTRAINT window_is_usual CHECK (control.is_usual_window(window_range)),
    CONSTRAINT names_are_short CHECK (control.are_names(stage, dag_id, run_id, host, error_kind)),
    CONSTRAINT counts_are_usual CHECK (control.are_counts(seconds, row_count, peak_memory_bytes)),
    CONSTRAINT source_is_the_id_of_a_connection CHECK (source ~ '^[A-Za-z0-9_.-]{1,200}$')
);

CREATE INDEX attempts_by_window ON ops.attempts (dataset, lower(window_range));
CREATE INDEX attempts_by_run ON ops.attempts (dag_id, run_id);
CREATE INDEX attempts_of_schedule ON ops.attempts (dataset, dag_id, lower(window_range))
WHERE run_id ~ '^(scheduled|backfill)__';
CREATE INDEX attempts_running ON ops.attempts (attempt_id) WHERE state = 'running';

COMMENT ON COLUMN ops.attempts.seconds IS 'Measured by a clock that does not jump';
COMMENT ON COLUMN ops.attempts.error_kind IS 'The class of the error: by it the trouble is sorted';
COMMENT ON COLUMN ops.attempts.source IS 'The source that was away';
COMMENT ON COLUMN ops.attempts.state IS 'lost: the process died; retrying: failed, and Airflow tries again';

COMMENT ON COLUMN ops.attempts.claim IS 'Of the database session that opened it: while that lives, it does';
COMMENT ON COLUMN ops.attempts.backend_pid IS 'The process of that session on the database server';
