-- A backfill is a row: whoever wants windows (re)loaded adds one here, be it from psql, the command line, the form, the
-- policy or a recovery, and one mechanism carries it out. Refusals carry SQLSTATE HW030 (what was asked), HW031
-- (another backfill has these windows), HW032 (the plan changed since it was shown) or HW033 (its state forbids it).
-- Run as publisher; again is harmless.

CREATE TABLE IF NOT EXISTS control.backfills (
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
    note text
);

ALTER TABLE control.backfills
ADD COLUMN IF NOT EXISTS login text,
ALTER COLUMN login SET DEFAULT session_user,
ADD COLUMN IF NOT EXISTS waits_since timestamptz;

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
CREATE TABLE IF NOT EXISTS control.backfill_windows (
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
    PRIMARY KEY (backfill_id, place),
    UNIQUE (backfill_id, window_range),
    CONSTRAINT what_is_skipped_has_a_rule CHECK (state <> 'skipped' OR rule IS NOT NULL)
);

CREATE INDEX IF NOT EXISTS backfill_windows_to_do ON control.backfill_windows (backfill_id, place)
WHERE state IN ('planned', 'running');

CREATE INDEX IF NOT EXISTS backfill_windows_running ON control.backfill_windows (backfill_id) WHERE state = 'running';

COMMENT ON COLUMN control.backfill_windows.place IS 'The order in which they are loaded, from 1';
COMMENT ON COLUMN control.backfill_windows.rule IS 'By which it is skipped';

ALTER TABLE control.backfill_windows
ADD COLUMN IF NOT EXISTS claim integer,
ADD COLUMN IF NOT EXISTS backend_pid integer;

COMMENT ON COLUMN control.backfill_windows.claim IS
'Of the session of the lane that has it in work; see ops.live_sessions';

-- Windows that a live lane holds: it has them for as long as its session stands, so that a kill -9 lets go of them.
CREATE OR REPLACE VIEW ops.live_claims AS
SELECT w.window_no
FROM control.backfill_windows AS w
INNER JOIN ops.live_sessions AS s ON w.claim = s.claim AND w.backend_pid = s.backend_pid
WHERE w.state = 'running';

-- One row a window of a backfill, and how it stands: what a lane that died had in work is to do again.
CREATE OR REPLACE VIEW ops.backfill_windows AS
SELECT
    w.window_no,
    w.backfill_id,
    w.place,
    w.window_range,
    w.action,
    w.rule,
    w.reason,
    CASE WHEN w.state = 'running' AND live.window_no IS NULL THEN 'planned' ELSE w.state END AS state,
    w.run_id,
    w.error,
    w.version,
    w.started_at,
    w.ended_at
FROM control.backfill_windows AS w
LEFT JOIN ops.live_claims AS live ON w.window_no = live.window_no;

-- One row a backfill: how far it is, how fast (pauses and waiting left out), and between what and what the rest takes.
CREATE OR REPLACE VIEW ops.backfill_progress AS
SELECT
    b.backfill_id,
    b.dataset,
    b.state,
    b.via,
    b.requested_by,
    b.reason,
    b.from_time,
    b.to_time,
    w.windows_total,
    w.landed + w.failed + w.skipped AS windows_done,
    w.landed,
    w.failed,
    w.skipped,
    w.cancelled,
    w.running,
    w.planned,
    w.running + w.planned AS windows_left,
    round(100.0 * (w.landed + w.failed + w.skipped) / greatest(w.windows_total, 1), 1) AS percent,
    e.windows_per_minute,
    CASE b.state WHEN 'running' THEN (e.at_least + e.at_most) / 2 END AS eta,
    b.requested_at,
    b.started_at,
    b.ended_at,
    b.max_active,
    b.note,
    CASE b.state WHEN 'running' THEN e.at_least END AS at_least,
    CASE b.state WHEN 'running' THEN e.at_most END AS at_most
FROM control.backfills AS b
CROSS JOIN
    LATERAL (
        SELECT
            count(*) AS windows_total,
            count(*) FILTER (WHERE s.state = 'landed') AS landed,
            count(*) FILTER (WHERE s.state = 'failed') AS failed,
            count(*) FILTER (WHERE s.state = 'skipped') AS skipped,
            count(*) FILTER (WHERE s.state = 'cancelled') AS cancelled,
            count(*) FILTER (WHERE s.state = 'running') AS running,
            count(*) FILTER (WHERE s.state = 'planned') AS planned
        FROM ops.backfill_windows AS s
        WHERE s.backfill_id = b.backfill_id
    ) AS w
CROSS JOIN
    LATERAL (
        SELECT
            array_agg(l.ended_at) AS ends,
            CASE count(*) WHEN 33 THEN min(l.ended_at) ELSE '-infinity' END AS since
        FROM (
            SELECT s.ended_at FROM control.backfill_windows AS s
            WHERE s.backfill_id = b.backfill_id AND s.state IN ('landed', 'failed') AND s.ended_at <= ops.clock()
            ORDER BY s.ended_at DESC
            LIMIT 33
        ) AS l
    ) AS latest
CROSS JOIN
    LATERAL (
        SELECT range_agg(tstzrange(s.started_at, coalesce(s.ended_at, ops.clock()))) AS pieces
        FROM control.backfill_windows AS s
        WHERE
            s.backfill_id = b.backfill_id AND s.started_at < coalesce(s.ended_at, ops.clock())
            AND (s.state = 'running' OR s.ended_at >= latest.since)
    ) AS work
CROSS JOIN
    LATERAL ops.estimate_rest(
        w.running + w.planned, latest.ends, ops.time_at_work(work.pieces), ops.clock()
    ) AS e;

COMMENT ON COLUMN ops.backfill_progress.eta IS 'The middle of at_least and at_most, between which the rest takes';

GRANT SELECT ON
control.backfills, control.backfill_windows, ops.live_claims, ops.backfill_windows, ops.backfill_progress
TO loader, analyst;
GRANT INSERT (
    dataset, from_time, to_time, which, excluded_dates, weekdays, closed_days, reason, requested_by, via, max_active,
    direction, on_failure, plan_shown, dag_run_id
) ON control.backfills TO loader, operator;
