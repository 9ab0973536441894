-- One row: the cost of the run that landed the window's present version, from its attempts.
INSERT INTO ops.processing_summary AS s (
    dataset, window_range, dag_id, run_id, version,
    rows_extracted, rows_published, rows_quarantined, rows_deduplicated,
    seconds, rows_per_second, peak_memory_bytes, attempts, started_at, ended_at
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
    w.started_at,
    ops.clock() AS ended_at
FROM ops.window_ledger AS l
CROSS JOIN
    LATERAL (
        SELECT
            coalesce(sum(a.seconds) FILTER (WHERE a.state = 'succeeded'), 0)
                AS seconds,
            max(a.peak_memory_bytes) AS peak_memory_bytes,
            count(*) AS attempts,
            min(a.started_at) AS started_at
        FROM ops.attempts AS a
        WHERE
            a.dataset = l.dataset AND a.window_range = l.window_range AND a.dag_id = l.dag_id AND a.run_id = l.run_id
            -- A run that is cleared and done over starts a new version: count from the summary before.
            AND a.started_at >= coalesce(
                (
                    SELECT max(p.ended_at) FROM ops.processing_summary AS p
                    WHERE p.dataset = l.dataset AND p.window_range = l.window_range AND p.version < l.version
                ),
                '-infinity'
            )
    ) AS w
WHERE
    l.dataset = %(dataset)s AND l.window_range = %(window_range)s
    AND l.dag_id = %(dag_id)s AND l.run_id = %(run_id)s
ON CONFLICT (dataset, window_range, version) DO UPDATE
    SET
        seconds = excluded.seconds, rows_per_second = excluded.rows_per_second,
        peak_memory_bytes = excluded.peak_memory_bytes, attempts = excluded.attempts, ended_at = excluded.ended_at
RETURNING
    s.version, s.rows_extracted, s.rows_published, s.rows_quarantined, s.rows_deduplicated,
    s.seconds, s.rows_per_second, s.peak_memory_bytes;
