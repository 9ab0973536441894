-- One row: the policies of all datasets as JSON, with durations in seconds and moments in ISO 8601, and by subject the
-- problems that readers found in them.
SELECT
    coalesce(jsonb_agg(jsonb_build_object(
        'dataset', d.dataset,
        'first_window', d.first_window,
        'step', extract(EPOCH FROM d.step),
        'due_after', extract(EPOCH FROM d.due_after),
        'max_age', extract(EPOCH FROM p.max_age),
        'max_age_text', p.max_age::text,
        'max_windows', p.max_windows,
        'skip_weekdays', p.skip_weekdays,
        'closed_days', CASE WHEN p.skip_closed_days THEN coalesce(closed.days, '[]') ELSE '[]' END,
        'is_on', catchup.is_on,
        'off_because', catchup.reason
    ) ORDER BY d.dataset), '[]')::text AS policies,
    (
        SELECT coalesce(jsonb_object_agg(u.subject, u.problem), '{}') FROM ops.unread_policies AS u
    ) AS problems
FROM control.datasets AS d
INNER JOIN control.sound_policies AS p USING (dataset)
CROSS JOIN LATERAL control.catchup_is_on(d.dataset) AS catchup
CROSS JOIN
    LATERAL (
        SELECT jsonb_agg(jsonb_build_array(c.day, c.reason) ORDER BY c.day, c.dataset) AS days
        FROM control.sound_closed_days AS c
        WHERE c.dataset IS NULL OR c.dataset = d.dataset
    ) AS closed;
