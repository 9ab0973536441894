-- The only way changes are published. A set in staging is as in 40_publish.sql, but its clean table holds changed rows,
-- those that are gone with deleted_at; in full mode every row of the source. The published table has a deleted_at.

-- The key of a row as quarantine.refused_keys has it, as SQL: a JSON array of strings.
CREATE OR REPLACE FUNCTION ops.key_expression(p_columns text[], p_prefix text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT
        'jsonb_build_array('
        || string_agg(format('to_jsonb(%s%I) #>> %L', p_prefix, c, '{}'), ', ' ORDER BY place) || ')::text'
    FROM unnest(p_columns) WITH ORDINALITY AS listed (c, place)
);

-- Merges a staging set into the published table, moves the checkpoint on if it still is where the set was read from,
-- and writes the ledger row of [old watermark, new watermark) — one transaction. Outcomes: 'merged'; 'already landed'
-- (this very set is what the ledger holds: an earlier try did it, and what is there is what it left). p_wish is why a
-- person had wanted a full run when this one was decided: it is granted.
CREATE OR REPLACE FUNCTION ops.merge_changes(
    p_dataset text,
    p_window tstzrange,
    p_set text,
    p_mode text,
    p_reason text,
    p_base_revision integer,
    p_base_snapshot text,
    p_source_snapshot text,
    p_source_identity jsonb,
    p_accept boolean,
    p_dag_id text,
    p_run_id text,
    p_wish text,
    OUT outcome text,
    OUT rows_inserted bigint,
    OUT rows_updated bigint,
    OUT rows_deleted bigint,
    OUT landed ops.window_ledger
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s'
AS $$
DECLARE
    wanted control.datasets;
    source control.sources;
    former ops.checkpoints;
    landed_until timestamptz;
    staged record;
    published regclass;
    keys text[];
    written text[];
    updated text[];
    hashed text[];
    same_key text;
    kinds record;
    before record;
    content record;
    merged bigint;
    vanished bigint := 0;
    live_before bigint;
BEGIN
    PERFORM ops.assert_read_committed();
    PERFORM ops.hold_dataset(p_dataset);
    SELECT * INTO wanted FROM control.datasets AS d WHERE d.dataset = p_dataset AND d.grid = 'watermark';
    SELECT * INTO source FROM control.sources AS s WHERE s.dataset = p_dataset;
    IF wanted IS NULL OR source IS NULL THEN
        RAISE EXCEPTION '"%" is no dataset that is loaded by its changes; such are: %', p_dataset,
            (SELECT string_agg(s.dataset, ', ' ORDER BY s.dataset) FROM control.sources AS s) USING ERRCODE = 'HW001';
    END IF;

    SELECT l.* INTO landed FROM ops.window_ledger AS l WHERE l.dataset = p_dataset AND l.staged_as = p_set;
    IF found THEN
        outcome := 'already landed';
        SELECT
            (h.state ->> 'rows_inserted')::bigint, (h.state ->> 'rows_updated')::bigint,
            (h.state ->> 'rows_deleted')::bigint
        INTO rows_inserted, rows_updated, rows_deleted
        FROM ops.checkpoint_history AS h
        WHERE h.dataset = p_dataset AND (h.state ->> 'watermark')::timestamptz = upper(landed.window_range)
        ORDER BY h.recorded_at LIMIT 1;
        SELECT * INTO content FROM ops.verify_merged(p_dataset);
        IF (content.rows_found, content.hash_found) IS DISTINCT FROM (content.rows_expected, content.hash_expected)
            AND content.rows_expected IS NOT NULL THEN
            RAISE EXCEPTION 'set % has landed, but % does not hold what it left: % rows where % are expected, hash % where % is',
                p_set, wanted.published_table, content.rows_found, content.rows_expected, content.hash_found,
                content.hash_expected
                USING ERRCODE = 'HW004', HINT = 'A full run puts it right: run it with {"mode": "full"}.';
        END IF;
        RETURN;
    END IF;
    IF p_mode IS NULL OR p_mode NOT IN ('full', 'incremental') THEN
        RAISE EXCEPTION 'invalid mode % of changes of %: expected full or incremental', coalesce(p_mode, 'null'), p_dataset
            USING ERRCODE = 'HW002';
    END IF;
    IF p_source_snapshot IS NULL OR p_source_identity = '{}' OR jsonb_typeof(p_source_identity) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'changes of % say nothing of their source: expected its snapshot and its identity, got % and %',
            p_dataset, coalesce(p_source_snapshot, 'null'), coalesce(p_source_identity::text, 'null')
            USING ERRCODE = 'HW002';
    END IF;

    SELECT * INTO former FROM ops.checkpoints AS c WHERE c.dataset = p_dataset FOR UPDATE;
    IF coalesce(former.revision, 0) IS DISTINCT FROM p_base_revision
        OR former.source_snapshot::text IS DISTINCT FROM p_base_snapshot THEN
        RAISE EXCEPTION 'the checkpoint of % has moved from revision % to % (by %) since these changes were read: nothing is merged',
            p_dataset, p_base_revision, coalesce(former.revision, 0), coalesce(former.run_id, former.updated_by, 'nobody')
            USING ERRCODE = 'HW006', HINT = 'Run it again: the next run takes whatever is left.';
    END IF;
    SELECT coalesce(max(upper(l.window_range)), wanted.first_window) INTO landed_until
    FROM ops.window_ledger AS l WHERE l.dataset = p_dataset;
    IF lower(p_window) <> landed_until OR isempty(p_window) THEN
        RAISE EXCEPTION 'the next window of % begins at %, where the last one ends, but got %', p_dataset, landed_until,
            p_window USING ERRCODE = 'HW002';
    END IF;
    -- A clock that went backwards must not stop the load: then a window of a microsecond follows the newest.
    IF coalesce(upper(p_window) > greatest(ops.clock(), landed_until + '1 microsecond'::interval), true) THEN
        RAISE EXCEPTION 'the window % of % ends in the future: expected an end up to %, the clock of the warehouse', p_window,
            p_dataset, ops.clock() USING ERRCODE = 'HW002', HINT = 'Look at the clocks, then run it again.';
    END IF;
    IF p_mode = 'incremental' AND former.source_snapshot IS NULL THEN
        RAISE EXCEPTION '% has no checkpoint: only a full run can make one', p_dataset USING ERRCODE = 'HW002';
    END IF;
    IF p_mode = 'incremental' AND (
        pg_snapshot_xmax(p_source_snapshot::pg_snapshot) < pg_snapshot_xmax(former.source_snapshot)
        OR EXISTS (
            SELECT FROM jsonb_each(former.source_identity) AS f WHERE p_source_identity -> f.key IS DISTINCT FROM f.value
        )
    ) THEN
        RAISE EXCEPTION 'changes of % since snapshot % were read at % from another source, or an older state of it: nothing is merged',
            p_dataset, former.source_snapshot, p_source_snapshot USING ERRCODE = 'HW006', HINT = 'Run it again.';
    END IF;

    SELECT * INTO staged FROM ops.lock_staging_set(p_set, p_dataset, p_window);

    published := wanted.published_table::regclass;
    keys := ops.primary_key_of(wanted.published_table);
    written := ops.written_columns_of(published);
    SELECT array_agg(a.attname::text ORDER BY a.attnum) INTO updated
    FROM pg_attribute AS a
    WHERE a.attrelid = published AND a.attname = ANY (written) AND a.attname <> ALL (keys) AND a.attidentity <> 'a';
    -- Columns that came since are hashed from now on, unless the table does not hold what its checkpoint says: then that
    -- must stay to be seen until a full run.
    hashed := ops.columns_of(published);
    IF p_mode = 'incremental' AND former.hashed_columns <@ hashed AND former.hashed_columns <> hashed THEN
        SELECT * INTO content FROM ops.merged_content(published, former.hashed_columns);
        IF (content.row_count, content.hash_sums) IS DISTINCT FROM (former.published_rows, former.hash_sums) THEN
            hashed := former.hashed_columns;
        END IF;
    END IF;
    same_key := format('(%s) = (%s)', ops.column_list(keys, 't.'), ops.column_list(keys, 'c.'));
    IF p_mode = 'full' THEN
        EXECUTE format('SELECT count(*) FROM %s AS t WHERE t.deleted_at IS NULL', published) INTO live_before;
    ELSE
        live_before := former.live_rows;
        SELECT * INTO before FROM ops.merged_content(published, hashed, keys, staged.clean_table);
    END IF;

    EXECUTE format(
        $query$
            SELECT
                count(*) FILTER (WHERE t.deleted_at IS NULL AND c.deleted_at IS NOT NULL AND t.%2$I IS NOT NULL) AS gone,
                count(*) FILTER (WHERE t.%2$I IS NULL AND c.deleted_at IS NOT NULL) AS came_and_went,
                count(*) FILTER (WHERE (t.%2$I IS NULL OR t.deleted_at IS NOT NULL) AND c.deleted_at IS NULL) AS new
            FROM %1$s AS c LEFT JOIN %3$s AS t ON %4$s
        $query$, staged.clean_table, keys[1], published, same_key
    ) INTO kinds;
    EXECUTE format(
        $query$
            MERGE INTO %1$s AS t USING %2$s AS c ON %3$s
            WHEN MATCHED AND (%4$s) IS DISTINCT FROM (%5$s) THEN UPDATE SET (%6$s) = ROW (%5$s)
            WHEN NOT MATCHED THEN INSERT (%7$s) OVERRIDING SYSTEM VALUE VALUES (%8$s)
        $query$, published, staged.clean_table, same_key,
        ops.column_list(updated, 't.'), ops.column_list(updated, 'c.'), ops.column_list(updated),
        ops.column_list(written), ops.column_list(written, 'c.')
    );
    GET DIAGNOSTICS merged = ROW_COUNT;
    IF p_mode = 'full' THEN
        -- A refused row is still there at the source: what counts is the set as it came.
        EXECUTE format(
            'UPDATE %s AS t SET deleted_at = $1 WHERE t.deleted_at IS NULL AND NOT EXISTS (SELECT FROM %s AS c WHERE %s)',
            published, ops.set_table(p_set, 'raw'), same_key
        ) USING upper(p_window);
        GET DIAGNOSTICS vanished = ROW_COUNT;
    END IF;
    rows_inserted := kinds.new;
    rows_deleted := kinds.gone + kinds.came_and_went + vanished;
    rows_updated := merged - kinds.new - kinds.gone - kinds.came_and_went;

    IF kinds.gone + vanished > source.max_deleted_share * live_before
        AND source.on_mass_delete = 'stop' AND p_accept IS NOT TRUE THEN
        RAISE EXCEPTION '% of the % live rows of % would be deleted, more than the share of % that is allowed: nothing is merged',
            kinds.gone + vanished, live_before, p_dataset, source.max_deleted_share
            USING ERRCODE = 'HW007', HINT = 'If they are really gone, run it again with {"accept": true}.';
    END IF;

    IF p_mode = 'full' OR former.hashed_columns <> hashed THEN
        SELECT * INTO content FROM ops.merged_content(published, hashed);
    ELSE
        SELECT
            former.published_rows - before.row_count + c.row_count AS row_count,
            former.live_rows - before.live_rows + c.live_rows AS live_rows,
            CASE WHEN former.hash_sums IS NOT NULL THEN ARRAY[
                former.hash_sums[1] - before.hash_sums[1] + c.hash_sums[1],
                former.hash_sums[2] - before.hash_sums[2] + c.hash_sums[2]
            ] END AS hash_sums
        INTO content
        FROM ops.merged_content(published, hashed, keys, staged.clean_table) AS c;
    END IF;

    INSERT INTO ops.window_ledger AS l (
        dataset, window_range, version, rows_extracted, rows_published, rows_quarantined, rows_deduplicated,
        content_hash, shape_id, source_snapshot, staged_as, dag_id, run_id, landed_at
    )
    VALUES (
        p_dataset, p_window, 1, (staged.taken).rows_extracted, (staged.taken).rows_published,
        (staged.taken).rows_quarantined, (staged.taken).rows_deduplicated, (staged.taken).content_hash,
        (staged.taken).shape_id, p_source_snapshot, p_set, p_dag_id, p_run_id, ops.clock()
    )
    RETURNING l.* INTO landed;
    EXECUTE format(
        'INSERT INTO quarantine.rejected_rows SELECT $1, $2, reason, source_row, $3, $4 FROM %s', staged.rejected_table
    ) USING p_dataset, p_window, p_run_id, landed.landed_at;
    EXECUTE format(
        $query$
            DELETE FROM quarantine.refused_keys AS q
            WHERE q.dataset = $1 AND ($2 OR q.key IN (SELECT %s FROM %s AS c))
        $query$, ops.key_expression(keys, 'c.'), ops.set_table(p_set, 'raw')
    ) USING p_dataset, p_mode = 'full';
    EXECUTE format(
        $query$
            INSERT INTO quarantine.refused_keys
            SELECT $1, to_jsonb(ARRAY(SELECT r.source_row ->> k FROM unnest($2) AS k))::text, min(r.reason), $3
            FROM %s AS r GROUP BY 2
        $query$, staged.rejected_table
    ) USING p_dataset, keys, p_window;

    INSERT INTO ops.checkpoints AS c (
        dataset, watermark, source_snapshot, source_identity, live_rows, mode, reason, rows_inserted, rows_updated,
        rows_deleted, last_full_at, dag_id, run_id, updated_by, updated_at, published_rows, hash_sums, hashed_columns
    )
    VALUES (
        p_dataset, upper(p_window), p_source_snapshot::pg_snapshot, p_source_identity,
        content.live_rows, p_mode, p_reason, rows_inserted, rows_updated,
        rows_deleted, CASE p_mode WHEN 'full' THEN landed.landed_at ELSE former.last_full_at END, p_dag_id, p_run_id,
        p_run_id, landed.landed_at, content.row_count, content.hash_sums,
        CASE WHEN content.hash_sums IS NOT NULL THEN hashed END
    )
    ON CONFLICT (dataset) DO UPDATE SET
        watermark = excluded.watermark, source_snapshot = excluded.source_snapshot,
        source_identity = excluded.source_identity, live_rows = excluded.live_rows, mode = excluded.mode,
        reason = excluded.reason, rows_inserted = excluded.rows_inserted, rows_updated = excluded.rows_updated,
        rows_deleted = excluded.rows_deleted, last_full_at = excluded.last_full_at, dag_id = excluded.dag_id,
        run_id = excluded.run_id, updated_by = excluded.updated_by, updated_at = excluded.updated_at,
        published_rows = excluded.published_rows, hash_sums = excluded.hash_sums,
        hashed_columns = excluded.hashed_columns;
    -- Who wants one since then wants another: its reason may be younger than what was read.
    UPDATE control.sources AS s SET full_run_wanted = NULL
    WHERE s.dataset = p_dataset AND p_mode = 'full' AND s.full_run_wanted = p_wish;
    PERFORM ops.drop_set(p_set);
    outcome := 'merged';
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.merge_changes FROM public;
GRANT EXECUTE ON FUNCTION ops.merge_changes TO loader;
