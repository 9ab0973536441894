-- One row per change of a policy or another rule, newest first.
SELECT
    h.changed_at,
    h.changed_by,
    h.what,
    h.dataset,
    h.old,
    h.new,
    h.reason
FROM control.catchup_policy_history AS h
WHERE h.dataset IS NULL OR h.dataset = any(%(datasets)s::text[])
ORDER BY h.change_id DESC
LIMIT 10;
