-- Inserts a backfill, which records its plan; returns its number.
INSERT INTO control.backfills (
    dataset, from_time, to_time, which, excluded_dates, weekdays, closed_days, direction, via, reason, requested_by,
    max_active, on_failure, plan_shown, dag_run_id
)
VALUES (
    %(dataset)s, %(from_time)s, %(to_time)s, %(which)s, %(excluded_dates)s, %(weekdays)s, %(closed_days)s,
    %(direction)s, %(via)s, %(reason)s, %(requested_by)s, %(max_active)s, %(on_failure)s, %(plan_shown)s, %(dag_run_id)s
)
RETURNING backfill_id;
