-- What a run cost, and what a comparison of source and target found, as the loader reports it. What the ledger and the
-- attempts know is taken from them, not from the caller. Run as publisher; idempotent.

-- The cost of the run that landed the window's current version, from its attempts; no row if another run landed it.
CREATE OR REPLACE FUNCTION ops.summarise(p_dataset text, p_window tstzrange, p_dag_id text, p_run_id text)
RETURNS SETOF ops.processing_summary
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
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
                count(*) FILTER (WHERE a.begins_attempt) AS attempts,
                min(a.started_at) AS started_at
            FROM ops.stage_tries AS a
            WHERE
                a.dataset = l.dataset AND a.window_range = l.window_range AND a.dag_id = l.dag_id AND a.run_id = l.run_id
                -- A run that is cleared and repeated makes a new version: count from the previous summary on.
                AND a.started_at >= coalesce(
                    (
                        SELECT max(p.ended_at) FROM ops.processing_summary AS p
                        WHERE p.dataset = l.dataset AND p.window_range = l.window_range AND p.version < l.version
                    ),
                    '-infinity'
                )
        ) AS w
    WHERE
        l.dataset = p_dataset AND l.window_range = p_window
        AND l.dag_id = p_dag_id AND l.run_id = p_run_id
    ON CONFLICT (dataset, window_range, version) DO UPDATE
        SET
            seconds = excluded.seconds, rows_per_second = excluded.rows_per_second,
            peak_memory_bytes = excluded.peak_memory_bytes, attempts = excluded.attempts, ended_at = excluded.ended_at
    RETURNING s.*
$$;

-- What the run that landed a set did, and its cost so far.
CREATE OR REPLACE FUNCTION ops.summarise_increment(
    p_dataset text,
    p_set text,
    p_hour tstzrange,
    p_mode text,
    p_reason text,
    p_inserted bigint,
    p_updated bigint,
    p_deleted bigint,
    p_by_hour jsonb
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM ops.assert_at_work(l.dataset, l.dag_id, l.run_id)
    FROM ops.window_ledger AS l WHERE l.dataset = p_dataset AND l.staged_as = p_set;
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
        p_mode,
        control.cut(p_reason) AS mode_reason,
        p_inserted AS rows_inserted,
        p_updated AS rows_updated,
        p_deleted AS rows_deleted,
        p_by_hour AS changes_by_hour
    FROM ops.window_ledger AS l
    CROSS JOIN
        LATERAL (
            SELECT
                coalesce(
                    sum(extract(EPOCH FROM coalesce(a.ended_at, ops.clock()) - a.started_at))
                    FILTER (WHERE a.state IN ('succeeded', 'running')), 0
                ) AS seconds,
                max(a.peak_memory_bytes) AS peak_memory_bytes,
                count(*) FILTER (WHERE a.begins_attempt) AS attempts,
                min(a.started_at) AS started_at
            FROM ops.stage_tries AS a
            WHERE
                a.dataset = l.dataset AND a.dag_id = l.dag_id AND a.run_id = l.run_id AND a.window_range = p_hour
        ) AS w
    WHERE l.dataset = p_dataset AND l.staged_as = p_set
    ON CONFLICT (dataset, window_range, version) DO UPDATE
        SET
            seconds = excluded.seconds, rows_per_second = excluded.rows_per_second,
            peak_memory_bytes = excluded.peak_memory_bytes, attempts = excluded.attempts, ended_at = excluded.ended_at;
END;
$$;

-- Records what a comparison at a checkpoint found.
CREATE OR REPLACE FUNCTION ops.record_consistency_check(
    p_dataset text,
    p_revision integer,
    p_dag_id text,
    p_run_id text,
    p_snapshot text,
    p_next_after_source text,
    p_next_after_target text,
    p_rows_compared bigint,
    p_differing_keys text[],
    p_refused_keys integer,
    p_pending bigint,
    p_oldest_pending timestamptz,
    p_newest_pending timestamptz
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM ops.assert_at_work(p_dataset, p_dag_id, p_run_id);
    INSERT INTO ops.consistency_checks (
        dataset, revision, dag_id, run_id, source_snapshot, next_after_source, next_after_target, rows_compared,
        differing_keys, refused_keys, pending_changes, oldest_pending, newest_pending
    )
    VALUES (
        p_dataset, p_revision, p_dag_id, p_run_id, p_snapshot, p_next_after_source, p_next_after_target,
        p_rows_compared, p_differing_keys, p_refused_keys, p_pending, p_oldest_pending, p_newest_pending
    );
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.summarise, ops.summarise_increment, ops.record_consistency_check FROM public;
GRANT EXECUTE ON FUNCTION ops.summarise, ops.summarise_increment, ops.record_consistency_check TO loader;
