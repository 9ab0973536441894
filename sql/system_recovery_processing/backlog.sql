-- One row per due window of the dataset that has neither landed nor is skipped, oldest first or newest first. A window
-- that was refused waits for a person and is no part of it: clearing its own run asks for it again. While catch-up is
-- off it is the newest one alone.
SELECT
    w.window_start,
    w.window_end
FROM ops.window_status AS w
INNER JOIN control.datasets AS d USING (dataset)
CROSS JOIN LATERAL control.catchup_is_on(d.dataset) AS catchup
WHERE
    w.dataset = %(dataset)s
    AND w.is_due
    AND w.state NOT IN ('landed', 'skipped')
    AND (
        catchup.is_on OR w.window_end = control.due_until(d, ops.clock()) OR w.window_range @> %(own)s::timestamptz
    )
    AND (
        w.window_range @> %(own)s::timestamptz
        OR NOT EXISTS (
            SELECT FROM ops.unresolved_attempts AS u
            WHERE
                u.dataset = w.dataset AND u.window_range = w.window_range
                AND u.error_kind IN ('AuditFailed', 'RefusedData', 'ConfigurationError')
        )
    )
ORDER BY CASE WHEN %(newest)s THEN -extract(EPOCH FROM w.window_start) ELSE extract(EPOCH FROM w.window_start) END
LIMIT %(most)s;
