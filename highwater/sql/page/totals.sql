-- One row per dataset: how many of its windows are due, and how many of these are in each state.
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
