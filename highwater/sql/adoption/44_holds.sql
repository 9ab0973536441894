-- A window that was rolled back before holds existed, and has not been loaded since, is held too.
INSERT INTO ops.holds (dataset, window_range, rollback_id, held_by, login, reason, held_at)
SELECT
    r.dataset,
    r.window_range,
    r.rollback_id,
    r.rolled_back_by,
    r.login,
    r.reason,
    r.rolled_back_at
FROM ops.rollbacks AS r
INNER JOIN ops.window_ledger AS l
    ON r.dataset = l.dataset AND r.window_range = l.window_range AND l.staged_as = 'rollback ' || r.rollback_id
WHERE NOT EXISTS (
    SELECT FROM ops.holds AS h
    WHERE h.rollback_id = r.rollback_id
);
