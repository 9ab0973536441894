-- What was rolled back before there were holds, and stands, is held as well.
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
