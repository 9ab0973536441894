-- One row per dataset: its grid and its published table.
SELECT
    dataset,
    dag_id,
    published_table,
    grid,
    first_window,
    step,
    due_after,
    max_lag,
    critical
FROM control.datasets
ORDER BY critical DESC, dataset ASC;
