-- One row per source that is loaded by windows: its reliability, how far its dataset has landed, and when the next
-- window is due.
SELECT
    r.source,
    r.dataset,
    f.landed_until,
    d.next_start + make_interval(secs => extract(EPOCH FROM d.step)) + d.due_after AS next_expected,
    t.windows_landed AS landed,
    t.windows_skipped AS skipped,
    t.windows_due AS due,
    t.windows_running AS running,
    t.windows_failed AS failed,
    t.windows_held AS held,
    t.windows_missing AS missing,
    r.catch_up,
    r.catches_up,
    r.reason,
    r.reliability::float8 AS reliability,
    r.reliability_threshold::float8 AS reliability_threshold,
    r.checks,
    r.good_checks,
    r.last_failure_at,
    r.since_last_failure
FROM ops.source_reliability AS r
INNER JOIN (
    SELECT
        datasets.*,
        control.due_until(datasets, ops.clock()) AS next_start
    FROM control.datasets AS datasets
) AS d USING (dataset)
INNER JOIN ops.freshness AS f USING (dataset)
INNER JOIN ops.window_totals AS t USING (dataset)
ORDER BY r.source;
