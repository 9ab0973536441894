-- One row per dataset: the number of its due windows, in total and by state.
SELECT
    dataset,
    windows_due AS due,
    windows_landed AS landed,
    windows_running AS running,
    windows_failed AS failed,
    windows_skipped AS skipped,
    windows_held AS held,
    windows_missing AS missing
FROM ops.window_totals
WHERE dataset = any(%(datasets)s::text[]);
