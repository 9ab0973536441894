-- One row per breaker that has closed and whose windows were not requested yet: the range from the first window that
-- failed to the newest that is due. A dataset that is loaded incrementally catches up with its next run.
SELECT
    b.breaker_id,
    b.dataset,
    b.reason,
    CASE WHEN d.grid = 'fixed' THEN control.window_at_or_after(d, begun.first_start) ELSE due.due_until END
        AS from_time,
    due.due_until AS to_time
FROM ops.breakers AS b
INNER JOIN control.datasets AS d ON b.dataset = d.dataset
CROSS JOIN LATERAL control.due_until(d, ops.clock()) AS due (due_until)
CROSS JOIN
    LATERAL (
        -- The window that contains the logical date of a run begins before it.
        SELECT lower(b.window_ranges) - CASE b.error_kind WHEN 'not registered' THEN d.step ELSE '0'::interval END
            AS first_start
    ) AS begun
WHERE b.closed_at IS NOT NULL AND b.resumed_at IS NULL
ORDER BY b.breaker_id;
