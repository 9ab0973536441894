-- One row a condition of a policy.
SELECT
    u.condition,
    p.dataset
FROM control.catchup_policies AS p
CROSS JOIN unnest(p.conditions) AS u (condition)
ORDER BY p.dataset, u.condition;
