-- Datasets that existed before: the first load counts as done if anything has landed.
INSERT INTO ops.first_loads (dataset, known_since, history_until, loaded_at)
SELECT
    d.dataset,
    ops.clock() AS known_since,
    control.due_until(d.*, ops.clock()) AS history_until,
    CASE WHEN d.dataset IN (SELECT l.dataset FROM ops.window_ledger AS l) THEN ops.clock() END AS loaded_at
FROM control.datasets AS d
WHERE d.grid = 'fixed'
ON CONFLICT (dataset) DO NOTHING;
