-- One row: what the run that landed a set did, and what it has cost so far.
INSERT INTO ops.processing_summary AS s (
    dataset, window_range, dag_id, run_id, version,
    rows_extracted, rows_published, rows_quarantined, rows_deduplicated,
    seconds, rows_per_second, peak_memory_bytes, attempts, started_at, ended_at,
    mode, mode_reason, rows_inserted, rows_updated, rows_deleted, changes_by_hour
)
SELECT
    l.dataset,
    l.window_range,
    l.dag_id,
    l.run_id,
    l.version,
    l.rows_extracted,
    l.rows_published,
    l.rows_quarantined,
    l.rows_deduplicated,
    w.seconds,
    l.rows_extracted / greatest(w.seconds, 0.001) AS rows_per_second,
    w.peak_memory_bytes,
    w.attempts,
    coalesce(w.started_at, l.landed_at) AS started_at,
    ops.clock() AS ended_at,
    %(mode)s AS mode, -- noqa: AL09
    %(reason)s AS mode_reason,
    %(inserted)s AS rows_inserted,
    %(updated)s AS rows_updated,
    %(deleted)s AS rows_deleted,
    %(by_hour)s AS changes_by_hour
FROM ops.window_ledger AS l
CROSS JOIN
    LATERAL (
        SELECT
            coalesce(
                sum(extract(EPOCH FROM coalesce(a.ended_at, ops.clock()) - a.started_at))
                FILTER (WHERE a.state IN ('succeeded', 'running')), 0
            ) AS seconds,
            max(a.peak_memory_bytes) AS peak_memory_bytes,
            count(*) AS attempts,
            min(a.started_at) AS started_at
        FROM ops.attempts AS a
        WHERE
            a.dataset = l.dataset AND a.dag_id = l.dag_id AND a.run_id = l.run_id AND a.window_range = %(hour)s
    ) AS w
WHERE l.dataset = %(dataset)s AND l.staged_as = %(staged_as)s
ON CONFLICT (dataset, window_range, version) DO UPDATE
    SET
        seconds = excluded.seconds, rows_per_second = excluded.rows_per_second,
        peak_memory_bytes = excluded.peak_memory_bytes, attempts = excluded.attempts, ended_at = excluded.ended_at;
