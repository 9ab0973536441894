-- The only way changes are published. A staging set is as in 40_publish.sql, but its clean table holds changed rows,
-- deleted ones with their deleted_at; in full mode, every row of the source. The published table has a deleted_at.

-- SQL for the key of a row as quarantine.refused_keys has it: a JSON array of strings.
CREATE OR REPLACE FUNCTION ops.key_expression(p_columns text[], p_prefix text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT
        'jsonb_build_array('
        || string_agg(format('to_jsonb(%s%I) #>> %L', p_prefix, c, '{}'), ', ' ORDER BY place) || ')::text'
    FROM unnest(p_columns) WITH ORDINALITY AS listed (c, place)
);

-- Locks a dataset that is loaded by its changes for merging; returns the rules of its source.
CREATE OR REPLACE FUNCTION ops.begin_merging(p_dataset text) RETURNS control.sources
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source control.sources;
BEGIN
    PERFORM ops.assert_read_committed();
    PERFORM ops.hold_dataset(p_dataset);
    SELECT s.* INTO source FROM control.sources AS s INNER JOIN control.datasets AS d USING (dataset)
    WHERE s.dataset = p_dataset AND d.grid = 'watermark';
    IF NOT found THEN
        RAISE EXCEPTION '"%" is not a dataset that is loaded by its changes; expected one of %', p_dataset,
            (SELECT string_agg(s.dataset, ', ' ORDER BY s.dataset) FROM control.sources AS s) USING ERRCODE = 'HW001';
    END IF;
    RETURN source;
END;
$$;

-- The counts of the merge that landed a ledger row. Refuses a published table that no longer holds what it left.
CREATE OR REPLACE FUNCTION ops.earlier_merge(
    p_landed ops.window_ledger, OUT rows_inserted bigint, OUT rows_updated bigint, OUT rows_deleted bigint
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    content record;
BEGIN
    SELECT
        (h.state ->> 'rows_inserted')::bigint, (h.state ->> 'rows_updated')::bigint, (h.state ->> 'rows_deleted')::bigint
    INTO rows_inserted, rows_updated, rows_deleted
    FROM ops.checkpoint_history AS h
    WHERE h.dataset = p_landed.dataset AND (h.state ->> 'watermark')::timestamptz = upper(p_landed.window_range)
    ORDER BY h.recorded_at LIMIT 1;
    SELECT * INTO content FROM ops.verify_merged(p_landed.dataset);
    IF (content.rows_found, content.hash_found) IS DISTINCT FROM (content.rows_expected, content.hash_expected)
        AND content.rows_expected IS NOT NULL THEN
        RAISE EXCEPTION 'set % has landed, but % does not hold what it left: % rows where % are expected, hash % where % is',
            p_landed.staged_as,
            (SELECT d.published_table FROM control.datasets AS d WHERE d.dataset = p_landed.dataset),
            content.rows_found, content.rows_expected, content.hash_found, content.hash_expected
            USING ERRCODE = 'HW004', HINT = 'A full run corrects it: run it with {"mode": "full"}.';
    END IF;
END;
$$;

-- Refuses changes that do not say how and from which source they were read.
CREATE OR REPLACE FUNCTION ops.assert_changes_described(
    p_dataset text, p_mode text, p_source_snapshot text, p_source_identity jsonb
) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_mode IS NULL OR p_mode NOT IN ('full', 'incremental') THEN
        RAISE EXCEPTION 'invalid mode % of changes of %: expected full or incremental', coalesce(p_mode, 'null'), p_dataset
            USING ERRCODE = 'HW002';
    END IF;
    IF p_source_snapshot IS NULL OR p_source_identity = '{}' OR jsonb_typeof(p_source_identity) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'changes of % do not name their source: expected its snapshot and its identity, got % and %',
            p_dataset, coalesce(p_source_snapshot, 'null'), coalesce(p_source_identity::text, 'null')
            USING ERRCODE = 'HW002';
    END IF;
END;
$$;

-- Locks the checkpoint of a dataset; refuses one that has moved since changes were read from it. Null before the first.
CREATE OR REPLACE FUNCTION ops.lock_checkpoint(p_dataset text, p_base_revision integer, p_base_snapshot text)
RETURNS ops.checkpoints
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found ops.checkpoints;
BEGIN
    SELECT * INTO found FROM ops.checkpoints AS c WHERE c.dataset = p_dataset FOR UPDATE;
    IF coalesce(found.revision, 0) IS DISTINCT FROM p_base_revision
        OR found.source_snapshot::text IS DISTINCT FROM p_base_snapshot THEN
        RAISE EXCEPTION 'the checkpoint of % has moved from revision % to % (by %) since these changes were read: nothing is merged',
            p_dataset, p_base_revision, coalesce(found.revision, 0), coalesce(found.run_id, found.updated_by, 'nobody')
            USING ERRCODE = 'HW006', HINT = 'Run it again: the next run takes whatever is left.';
    END IF;
    RETURN found;
END;
$$;

-- Refuses a window of changes that does not follow the newest one, or ends in the future.
CREATE OR REPLACE FUNCTION ops.assert_next_window(p_wanted control.datasets, p_window tstzrange) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    landed_until CONSTANT timestamptz := coalesce(
        (SELECT max(upper(l.window_range)) FROM ops.window_ledger AS l WHERE l.dataset = p_wanted.dataset),
        p_wanted.first_window
    );
BEGIN
    IF lower(p_window) <> landed_until OR isempty(p_window) THEN
        RAISE EXCEPTION 'the next window of % begins at %, where the last one ends, but got %', p_wanted.dataset,
            landed_until, p_window USING ERRCODE = 'HW002';
    END IF;
    -- A clock that went backwards must not stop the load: then a window of a microsecond follows the newest.
    IF coalesce(upper(p_window) > greatest(ops.clock(), landed_until + '1 microsecond'::interval), true) THEN
        RAISE EXCEPTION 'the window % of % ends in the future: expected an end up to %, the clock of the warehouse', p_window,
            p_wanted.dataset, ops.clock() USING ERRCODE = 'HW002', HINT = 'Check the clocks, then run it again.';
    END IF;
END;
$$;

-- Refuses an increment that does not continue its checkpoint: none, another source, or an older state of the source.
CREATE OR REPLACE FUNCTION ops.assert_same_source(
    p_dataset text, p_former ops.checkpoints, p_source_snapshot text, p_source_identity jsonb
) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_former.source_snapshot IS NULL THEN
        RAISE EXCEPTION '% has no checkpoint: only a full run can make one', p_dataset USING ERRCODE = 'HW002';
    END IF;
    IF pg_snapshot_xmax(p_source_snapshot::pg_snapshot) < pg_snapshot_xmax(p_former.source_snapshot)
        OR EXISTS (
            SELECT FROM jsonb_each(p_former.source_identity) AS f WHERE p_source_identity -> f.key IS DISTINCT FROM f.value
        ) THEN
        RAISE EXCEPTION 'changes of % since snapshot % were read at % from another source, or an older state of it: nothing is merged',
            p_dataset, p_former.source_snapshot, p_source_snapshot USING ERRCODE = 'HW006', HINT = 'Run it again.';
    END IF;
END;
$$;

-- The columns to hash from this merge on. A column that is new is hashed too, unless the table does not hold what its
-- checkpoint says: that difference must remain visible until a full run.
CREATE OR REPLACE FUNCTION ops.columns_to_hash(p_published regclass, p_mode text, p_former ops.checkpoints)
RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    present CONSTANT text[] := ops.columns_of(p_published);
    content record;
BEGIN
    IF p_mode = 'incremental' AND p_former.hashed_columns <@ present AND p_former.hashed_columns <> present THEN
        SELECT * INTO content FROM ops.merged_content(p_published, p_former.hashed_columns);
        IF (content.row_count, content.hash_sums) IS DISTINCT FROM (p_former.published_rows, p_former.hash_sums) THEN
            RETURN p_former.hashed_columns;
        END IF;
    END IF;
    RETURN present;
END;
$$;

-- Applies the clean rows of a set to the published table: inserts, updates, and deletes by deleted_at. In full mode a
-- live row that the set lacks is deleted as of p_moment. rows_removed are the live rows among those deleted.
CREATE OR REPLACE FUNCTION ops.apply_changes(
    p_published regclass,
    p_set text,
    p_mode text,
    p_moment timestamptz,
    OUT rows_inserted bigint,
    OUT rows_updated bigint,
    OUT rows_deleted bigint,
    OUT rows_removed bigint
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    clean CONSTANT regclass := ops.set_table(p_set, 'clean');
    keys CONSTANT text[] := ops.primary_key_of(p_published::text);
    written CONSTANT text[] := ops.written_columns_of(p_published);
    updated CONSTANT text[] := ARRAY(
        SELECT a.attname::text FROM pg_attribute AS a
        WHERE a.attrelid = p_published AND a.attname = ANY (written) AND a.attname <> ALL (keys) AND a.attidentity <> 'a'
        ORDER BY a.attnum
    );
    same_key CONSTANT text := format('(%s) = (%s)', ops.column_list(keys, 't.'), ops.column_list(keys, 'c.'));
    kinds record;
    merged bigint;
    vanished bigint := 0;
BEGIN
    EXECUTE format(
        $query$
            SELECT
                count(*) FILTER (WHERE t.deleted_at IS NULL AND c.deleted_at IS NOT NULL AND t.%2$I IS NOT NULL) AS gone,
                count(*) FILTER (WHERE t.%2$I IS NULL AND c.deleted_at IS NOT NULL) AS came_and_went,
                count(*) FILTER (WHERE (t.%2$I IS NULL OR t.deleted_at IS NOT NULL) AND c.deleted_at IS NULL) AS new
            FROM %1$s AS c LEFT JOIN %3$s AS t ON %4$s
        $query$, clean, keys[1], p_published, same_key
    ) INTO kinds;
    EXECUTE format(
        $query$
            MERGE INTO %1$s AS t USING %2$s AS c ON %3$s
            WHEN MATCHED AND (%4$s) IS DISTINCT FROM (%5$s) THEN UPDATE SET (%6$s) = ROW (%5$s)
            WHEN NOT MATCHED THEN INSERT (%7$s) OVERRIDING SYSTEM VALUE VALUES (%8$s)
        $query$, p_published, clean, same_key,
        ops.column_list(updated, 't.'), ops.column_list(updated, 'c.'), ops.column_list(updated),
        ops.column_list(written), ops.column_list(written, 'c.')
    );
    GET DIAGNOSTICS merged = ROW_COUNT;
    IF p_mode = 'full' THEN
        -- Compared with the raw table: a rejected row still exists at the source.
        EXECUTE format(
            'UPDATE %s AS t SET deleted_at = $1 WHERE t.deleted_at IS NULL AND NOT EXISTS (SELECT FROM %s AS c WHERE %s)',
            p_published, ops.set_table(p_set, 'raw'), same_key
        ) USING p_moment;
        GET DIAGNOSTICS vanished = ROW_COUNT;
    END IF;
    rows_inserted := kinds.new;
    rows_removed := kinds.gone + vanished;
    rows_deleted := rows_removed + kinds.came_and_went;
    rows_updated := merged - kinds.new - kinds.gone - kinds.came_and_went;
END;
$$;

-- Refuses a merge that deletes more of the live rows than the source allows, unless a person accepts it.
CREATE OR REPLACE FUNCTION ops.assert_deletions(
    p_source control.sources, p_removed bigint, p_live_rows bigint, p_accept boolean
) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_removed > p_source.max_deleted_share * p_live_rows
        AND p_source.on_mass_delete = 'stop' AND p_accept IS NOT TRUE THEN
        RAISE EXCEPTION '% of the % live rows of % would be deleted, more than the share of % that is allowed: nothing is merged',
            p_removed, p_live_rows, p_source.dataset, p_source.max_deleted_share
            USING ERRCODE = 'HW007', HINT = 'If they are really gone, run it again with {"accept": true}.';
    END IF;
END;
$$;

-- What the published table holds after a merge. An increment adds the difference that its keys make to what the
-- checkpoint says; a full run, or other columns to hash than before, count the whole table.
CREATE OR REPLACE FUNCTION ops.content_after_merge(
    p_published regclass,
    p_clean regclass,
    p_hashed text[],
    p_mode text,
    p_former ops.checkpoints,
    p_rows_before bigint,
    p_live_before bigint,
    p_sums_before numeric[],
    OUT row_count bigint,
    OUT live_rows bigint,
    OUT hash_sums numeric[]
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_mode = 'full' OR p_former.hashed_columns <> p_hashed THEN
        SELECT c.row_count, c.live_rows, c.hash_sums INTO row_count, live_rows, hash_sums
        FROM ops.merged_content(p_published, p_hashed) AS c;
        RETURN;
    END IF;
    SELECT
        p_former.published_rows - p_rows_before + c.row_count,
        p_former.live_rows - p_live_before + c.live_rows,
        CASE WHEN p_former.hash_sums IS NOT NULL THEN ARRAY[
            p_former.hash_sums[1] - p_sums_before[1] + c.hash_sums[1],
            p_former.hash_sums[2] - p_sums_before[2] + c.hash_sums[2]
        ] END
    INTO row_count, live_rows, hash_sums
    FROM ops.merged_content(p_published, p_hashed, ops.primary_key_of(p_published::text), p_clean) AS c;
END;
$$;

-- Brings the refused keys of a dataset up to date: a key that was read again is refused only if it was rejected again.
CREATE OR REPLACE FUNCTION ops.refresh_refused_keys(
    p_landed ops.window_ledger, p_published regclass, p_rejected regclass, p_mode text
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    keys CONSTANT text[] := ops.primary_key_of(p_published::text);
BEGIN
    EXECUTE format(
        $query$
            DELETE FROM quarantine.refused_keys AS q
            WHERE q.dataset = $1 AND ($2 OR q.key IN (SELECT %s FROM %s AS c))
        $query$, ops.key_expression(keys, 'c.'), ops.set_table(p_landed.staged_as, 'raw')
    ) USING p_landed.dataset, p_mode = 'full';
    EXECUTE format(
        $query$
            INSERT INTO quarantine.refused_keys
            SELECT $1, to_jsonb(ARRAY(SELECT r.source_row ->> k FROM unnest($2) AS k))::text, min(r.reason), $3
            FROM %s AS r GROUP BY 2
        $query$, p_rejected
    ) USING p_landed.dataset, keys, p_landed.window_range;
END;
$$;

-- Moves the checkpoint of a dataset to the end of the window that has just landed.
CREATE OR REPLACE FUNCTION ops.move_checkpoint(
    p_landed ops.window_ledger,
    p_mode text,
    p_reason text,
    p_source_identity jsonb,
    p_inserted bigint,
    p_updated bigint,
    p_deleted bigint,
    p_row_count bigint,
    p_live_rows bigint,
    p_hash_sums numeric[],
    p_hashed text[]
) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO ops.checkpoints AS c (
        dataset, watermark, source_snapshot, source_identity, live_rows, mode, reason, rows_inserted, rows_updated,
        rows_deleted, last_full_at, dag_id, run_id, updated_by, updated_at, published_rows, hash_sums, hashed_columns
    )
    VALUES (
        p_landed.dataset, upper(p_landed.window_range), p_landed.source_snapshot::pg_snapshot, p_source_identity,
        p_live_rows, p_mode, p_reason, p_inserted, p_updated,
        p_deleted, CASE p_mode WHEN 'full' THEN p_landed.landed_at END, p_landed.dag_id, p_landed.run_id,
        p_landed.run_id, p_landed.landed_at, p_row_count, p_hash_sums, CASE WHEN p_hash_sums IS NOT NULL THEN p_hashed END
    )
    ON CONFLICT (dataset) DO UPDATE SET
        watermark = excluded.watermark, source_snapshot = excluded.source_snapshot,
        source_identity = excluded.source_identity, live_rows = excluded.live_rows, mode = excluded.mode,
        reason = excluded.reason, rows_inserted = excluded.rows_inserted, rows_updated = excluded.rows_updated,
        rows_deleted = excluded.rows_deleted, last_full_at = coalesce(excluded.last_full_at, c.last_full_at),
        dag_id = excluded.dag_id, run_id = excluded.run_id, updated_by = excluded.updated_by,
        updated_at = excluded.updated_at, published_rows = excluded.published_rows, hash_sums = excluded.hash_sums,
        hashed_columns = excluded.hashed_columns
$$;

-- Merges a staging set into the published table, moves the checkpoint on if it is still where the set was read from,
-- and writes the ledger row of [old watermark, new watermark): one transaction. Outcomes: 'merged'; 'already landed'
-- (the ledger holds this very set: an earlier try merged it, and the table still holds what it left).
-- p_full_run_wanted is the request for a full run as it was when this run was decided; a full run fulfils it.
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
    p_full_run_wanted text,
    OUT outcome text,
    OUT rows_inserted bigint,
    OUT rows_updated bigint,
    OUT rows_deleted bigint,
    OUT landed ops.window_ledger
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s'
AS $$
DECLARE
    source control.sources;
    wanted control.datasets;
    former ops.checkpoints;
    staged record;
    published regclass;
    hashed text[];
    live_before bigint;
    before record;
    removed bigint;
    content record;
BEGIN
    SELECT * INTO source FROM ops.begin_merging(p_dataset);
    SELECT * INTO wanted FROM control.datasets AS d WHERE d.dataset = p_dataset;
    SELECT l.* INTO landed FROM ops.window_ledger AS l WHERE l.dataset = p_dataset AND l.staged_as = p_set;
    IF found THEN
        outcome := 'already landed';
        SELECT e.* INTO rows_inserted, rows_updated, rows_deleted FROM ops.earlier_merge(landed) AS e;
        RETURN;
    END IF;
    PERFORM ops.assert_changes_described(p_dataset, p_mode, p_source_snapshot, p_source_identity);
    SELECT * INTO former FROM ops.lock_checkpoint(p_dataset, p_base_revision, p_base_snapshot);
    PERFORM ops.assert_next_window(wanted, p_window);
    IF p_mode = 'incremental' THEN
        PERFORM ops.assert_same_source(p_dataset, former, p_source_snapshot, p_source_identity);
    END IF;
    SELECT * INTO staged FROM ops.lock_staging_set(p_set, p_dataset, p_window);

    published := wanted.published_table::regclass;
    hashed := ops.columns_to_hash(published, p_mode, former);
    -- Of an increment, what the keys that it changes held before; of a full run, nothing.
    SELECT c.* INTO before
    FROM ops.merged_content(published, hashed, ops.primary_key_of(published::text), staged.clean_table) AS c
    WHERE p_mode = 'incremental';
    live_before := former.live_rows;
    IF p_mode = 'full' THEN
        EXECUTE format('SELECT count(*) FROM %s AS t WHERE t.deleted_at IS NULL', published) INTO live_before;
    END IF;
    SELECT m.* INTO rows_inserted, rows_updated, rows_deleted, removed
    FROM ops.apply_changes(published, p_set, p_mode, upper(p_window)) AS m;
    PERFORM ops.assert_deletions(source, removed, live_before, p_accept);
    SELECT * INTO content FROM ops.content_after_merge(
        published, staged.clean_table, hashed, p_mode, former, before.row_count, before.live_rows, before.hash_sums
    );

    landed := ops.record_landing(staged.taken, 1, p_source_snapshot, p_dag_id, p_run_id);
    PERFORM ops.quarantine_rejected(landed, staged.rejected_table);
    PERFORM ops.refresh_refused_keys(landed, published, staged.rejected_table, p_mode);
    PERFORM ops.move_checkpoint(
        landed, p_mode, p_reason, p_source_identity, rows_inserted, rows_updated, rows_deleted, content.row_count,
        content.live_rows, content.hash_sums, hashed
    );
    -- A request made since then is not fulfilled: its reason may be newer than what was read.
    UPDATE control.sources AS s SET full_run_wanted = NULL
    WHERE s.dataset = p_dataset AND p_mode = 'full' AND s.full_run_wanted = p_full_run_wanted;
    PERFORM ops.drop_set(p_set);
    outcome := 'merged';
END;
$$;

REVOKE EXECUTE ON FUNCTION
ops.merge_changes, ops.begin_merging, ops.earlier_merge, ops.assert_changes_described, ops.lock_checkpoint,
ops.assert_next_window, ops.assert_same_source, ops.columns_to_hash, ops.apply_changes, ops.assert_deletions,
ops.content_after_merge, ops.refresh_refused_keys, ops.move_checkpoint
FROM public;
GRANT EXECUTE ON FUNCTION ops.merge_changes TO loader;
