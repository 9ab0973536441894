-- One row per condition and dataset whose policy names it.
SELECT
    u.condition,
    p.dataset
FROM control.sound_policies AS p
CROSS JOIN unnest(p.conditions) AS u (condition)
ORDER BY p.dataset, u.condition;
