-- One row per dataset: its freshness, what has not landed, and the policy in force.
SELECT
    d.dataset,
    d.dag_id,
    f.landed_until,
    f.lag,
    f.max_lag,
    f.is_stale,
    t.windows_running,
    t.windows_failed,
    t.windows_missing,
    lower(t.not_landed) AS not_landed_since,
    p.enabled,
    c.is_on AS catches_up,
    c.reason AS catch_up_reason,
    sound.max_age,
    p.max_windows,
    p.skip_weekdays,
    p.skip_closed_days,
    p.conditions,
    p.changed_by,
    p.changed_at,
    p.reason
FROM control.datasets AS d
INNER JOIN ops.freshness AS f USING (dataset)
INNER JOIN ops.window_totals AS t USING (dataset)
LEFT JOIN control.catchup_policies AS p USING (dataset)
LEFT JOIN control.sound_policies AS sound USING (dataset)
CROSS JOIN LATERAL control.catchup_is_on(d.dataset) AS c
WHERE d.dataset = any(%(datasets)s::text[])
ORDER BY d.critical DESC, d.dataset ASC;
