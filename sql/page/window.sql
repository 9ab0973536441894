-- What is known of one window: its state, the ledger row or rows it rests on, and what the policy says of it.
SELECT
    s.dataset,
    s.window_start,
    s.window_end,
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
    c.is_on AS catches_up,
    c.reason AS catch_up_reason
FROM ops.window_status AS s
LEFT JOIN LATERAL (
    SELECT
        k.content_hash,
        k.source_snapshot,
        k.dag_id,
        k.run_id
    FROM ops.window_ledger AS k
    WHERE k.dataset = s.dataset AND k.window_range @> (s.window_end - '1 microsecond'::interval)
) AS l ON TRUE
LEFT JOIN LATERAL control.policy_verdict(s.dataset, s.window_range, ops.clock()) AS v ON TRUE
CROSS JOIN LATERAL control.catchup_is_on(s.dataset) AS c
WHERE s.dataset = %(dataset)s AND s.window_start = %(since)s;
