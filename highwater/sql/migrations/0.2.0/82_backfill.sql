CREATE TABLE control.backfills (
    backfill_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    from_time timestamptz NOT NULL,
    to_time timestamptz NOT NULL,
    which text NOT NULL DEFAULT 'missing',
    excluded_dates date[] NOT NULL DEFAULT '{}',
    weekdays smallint[],
    closed_days text NOT NULL DEFAULT 'skip',
    reason text NOT NULL,
    requested_by text NOT NULL DEFAULT session_user,
    requested_at timestamptz NOT NULL DEFAULT ops.clock(),
    via text NOT NULL DEFAULT 'sql',
    max_active integer NOT NULL DEFAULT 3,
    direction text NOT NULL DEFAULT 'oldest',
    on_failure text NOT NULL DEFAULT 'continue',
    plan_shown text,
    state text NOT NULL DEFAULT 'requested' CHECK (
        state IN ('requested', 'running', 'paused', 'stopped', 'cancelled', 'done', 'failed')
    ),
    starts integer NOT NULL DEFAULT 1,
    dag_run_id text,
    run_is_over boolean NOT NULL DEFAULT TRUE,
    started_at timestamptz,
    running_since timestamptz,
    ended_at timestamptz,
    held_by text CHECK (held_by IN ('person', 'policy')),
    note text,
    login text DEFAULT session_user,
    waits_since timestamptz
);

COMMENT ON COLUMN control.backfills.waits_since IS
'Since when a run of Airflow is to begin it, the latest time that it was asked for; null: before that was kept';

COMMENT ON COLUMN control.backfills.requested_by IS 'As whoever asked for it says';
COMMENT ON COLUMN control.backfills.login IS 'The role of the warehouse that asked; null: before that was kept';
COMMENT ON TABLE control.backfills IS 'What somebody wants (re)loaded: one row a backfill; an INSERT is all it takes';
COMMENT ON COLUMN control.backfills.from_time IS 'Windows lie wholly in [from_time, to_time)';
COMMENT ON COLUMN control.backfills.which IS
'missing: due and not landed; failed: not landed, and the latest attempt failed; all: landed ones too';
COMMENT ON COLUMN control.backfills.excluded_dates IS 'UTC days that are left out';
COMMENT ON COLUMN control.backfills.weekdays IS 'Only these, by ISO: 1 is Monday, 7 is Sunday; empty means every day';
COMMENT ON COLUMN control.backfills.closed_days IS 'skip or load the days of control.closed_days';
COMMENT ON COLUMN control.backfills.max_active IS 'So many of its windows are in work at once, at most';
COMMENT ON COLUMN control.backfills.direction IS 'oldest or newest window first';
COMMENT ON COLUMN control.backfills.on_failure IS 'stop after the first window that fails, or continue';
COMMENT ON COLUMN control.backfills.plan_shown IS
'The fingerprint of the plan that was shown: the row is refused if its plan is another one';
COMMENT ON COLUMN control.backfills.held_by IS
'Who paused it: what the policy paused, by a condition or its switch, goes on by itself';
COMMENT ON COLUMN control.backfills.run_is_over IS 'No lane of dag_run_id is at work or waits for a slot';
COMMENT ON COLUMN control.backfills.starts IS 'One more with each resume, so that a run of Airflow is asked for once';

-- One row a window of a backfill: what is to happen to it and why, and what became of it.
CREATE TABLE control.backfill_windows (
    window_no integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    backfill_id integer NOT NULL REFERENCES control.backfills,
    place integer NOT NULL,
    window_range tstzrange NOT NULL,
    action text NOT NULL CHECK (action IN ('load', 'skip')),
    rule text,
    reason text NOT NULL,
    state text NOT NULL CHECK (state IN ('planned', 'running', 'landed', 'failed', 'skipped', 'cancelled')),
    run_id text,
    error text,
    version integer,
    started_at timestamptz,
    ended_at timestamptz,
    claim integer,
    backend_pid integer,
    PRIMARY KEY (backfill_id, place),
    UNIQUE (backfill_id, window_range),
    CONSTRAINT what_is_skipped_has_a_rule CHECK (state <> 'skipped' OR rule IS NOT NULL)
);

CREATE INDEX backfill_windows_to_do ON control.backfill_windows (backfill_id, place)
WHERE state IN ('planned', 'running');

CREATE INDEX backfill_windows_running ON control.backfill_windows (backfill_id) WHERE state = 'running';

COMMENT ON COLUMN control.backfill_windows.place IS 'The order in which they are loaded, from 1';
COMMENT ON COLUMN control.backfill_windows.rule IS 'By which it is skipped';

COMMENT ON COLUMN control.backfill_windows.claim IS
'Of the session of the lane that has it in work; see ops.live_sessions';
