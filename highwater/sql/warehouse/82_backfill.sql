-- A backfill is a row of control.backfills: psql, the command line, the form, the policy and a recovery all insert one,
-- and one mechanism carries it out. Refusals have SQLSTATE HW030 (invalid request), HW031 (another backfill has these
-- windows), HW032 (the plan changed since it was shown) or HW033 (its state forbids it). Run as publisher; idempotent.

-- Windows that a live lane holds. A claim lasts as long as the lane's session, so that a kill -9 releases it.
CREATE OR REPLACE VIEW ops.live_claims AS
SELECT w.window_no
FROM control.backfill_windows AS w
INNER JOIN ops.live_sessions AS s ON w.claim = s.claim AND w.backend_pid = s.backend_pid
WHERE w.state = 'running';

-- One row per window of a backfill with its current state: a running window whose lane has died is planned again, or
-- cancelled with its backfill.
CREATE OR REPLACE VIEW ops.backfill_windows AS
SELECT
    w.window_no,
    w.backfill_id,
    w.place,
    w.window_range,
    w.action,
    w.rule,
    w.reason,
    CASE
        WHEN w.state <> 'running' OR live.window_no IS NOT NULL THEN w.state
        WHEN b.state = 'cancelled' THEN 'cancelled'
        ELSE 'planned'
    END AS state,
    w.run_id,
    w.error,
    w.version,
    w.started_at,
    w.ended_at
FROM control.backfill_windows AS w
INNER JOIN control.backfills AS b ON w.backfill_id = b.backfill_id
LEFT JOIN ops.live_claims AS live ON w.window_no = live.window_no;

-- One row per backfill: its progress, its rate (without pauses and waiting), and the least and most time left.
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
            WHERE s.backfill_id = b.backfill_id AND s.state = 'landed' AND s.ended_at <= ops.clock()
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

COMMENT ON COLUMN ops.backfill_progress.eta IS 'Estimated time left: the middle of at_least and at_most';

GRANT SELECT ON
control.backfills, control.backfill_windows, ops.live_claims, ops.backfill_windows, ops.backfill_progress
TO loader, analyst;
GRANT INSERT (
    dataset, from_time, to_time, which, excluded_dates, weekdays, closed_days, reason, requested_by, via, max_active,
    direction, on_failure, plan_shown, dag_run_id
) ON control.backfills TO loader, operator;
