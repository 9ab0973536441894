-- One backfill: what was asked for, by whom, and how far it is.
SELECT
    p.backfill_id,
    p.dataset,
    p.state,
    p.via,
    p.requested_by,
    p.reason,
    p.from_time,
    p.to_time,
    p.windows_total,
    p.windows_done,
    p.landed,
    p.failed,
    p.skipped,
    p.cancelled,
    p.running,
    p.windows_left,
    p.percent,
    p.windows_per_minute,
    p.eta,
    p.requested_at,
    p.started_at,
    p.ended_at,
    p.max_active,
    p.note,
    d.dag_id,
    b.which,
    b.excluded_dates,
    b.weekdays,
    b.closed_days,
    b.direction,
    b.on_failure,
    b.dag_run_id
FROM ops.backfill_progress AS p
INNER JOIN control.backfills AS b USING (backfill_id)
INNER JOIN control.datasets AS d ON p.dataset = d.dataset
WHERE p.backfill_id = %(backfill)s;
