-- Asks for a backfill; the warehouse refuses it where it cannot be meant, or its plan is not the one that was shown.
INSERT INTO control.backfills (
    dataset, from_time, to_time, which, excluded_dates, weekdays, closed_days, reason, requested_by, via, max_active,
    direction, on_failure, plan_shown
)
VALUES (
    %(dataset)s, %(since)s, %(until)s, %(which)s, %(excluded_dates)s::date[], %(weekdays)s::smallint[],
    %(closed_days)s, %(why)s, %(requested_by)s, 'form', %(max_active)s, %(direction)s, %(on_failure)s, %(shown)s
)
RETURNING backfill_id;
