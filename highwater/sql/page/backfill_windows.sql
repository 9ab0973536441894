-- One row per window of a backfill: those that run or failed first, then in the order of loading.
SELECT
    w.place,
    lower(w.window_range) AS window_start,
    upper(w.window_range) AS window_end,
    w.state,
    w.rule,
    w.reason,
    w.error,
    w.version,
    w.started_at,
    w.ended_at
FROM ops.backfill_windows AS w
WHERE w.backfill_id = %(backfill)s
ORDER BY w.state NOT IN ('running', 'failed') ASC, w.place ASC
LIMIT 200;
