-- One row: the state of a window, its ledger row, and the verdict of the policy.
SELECT
    d.dataset,
    lower(s.window_range) AS window_start,
    upper(s.window_range) AS window_end,
    s.state,
    s.reason,
    s.version,
    s.rows_extracted,
    s.rows_published,
    s.rows_quarantined,
    s.rows_deduplicated,
    s.landed_at,
    l.content_hash,
    l.source_snapshot,
    l.dag_id,
    l.run_id,
    v.rule AS policy_rule,
    v.reason AS policy_reason,
    (
        SELECT count(*) FILTER (WHERE a.begins_attempt) FROM ops.stage_tries AS a
        WHERE a.dataset = d.dataset AND lower(a.window_range) <@ s.window_range
    ) AS attempts,
    c.is_on AS catches_up,
    c.reason AS catch_up_reason
FROM control.datasets AS d
CROSS JOIN LATERAL ops.windows_between(d.dataset, %(since)s, %(since)s::timestamptz + '1 microsecond'::interval) AS s
LEFT JOIN LATERAL (
    SELECT
        k.content_hash,
        k.source_snapshot,
        k.dag_id,
        k.run_id
    FROM ops.window_ledger AS k
    WHERE k.dataset = d.dataset AND k.window_range @> (upper(s.window_range) - '1 microsecond'::interval)
) AS l ON TRUE
LEFT JOIN LATERAL control.policy_verdict(d.dataset, s.window_range, ops.clock()) AS v ON TRUE
CROSS JOIN LATERAL control.catchup_is_on(d.dataset) AS c
WHERE d.dataset = %(dataset)s;
