-- The only way data is published: a finished staging set becomes the partition of its window, and the ledger row is
-- written, in one transaction. Partitions are found by their bounds in the catalogue, never by a name. Errors that a
-- retry cannot fix carry SQLSTATE HW0xx. Run as publisher; idempotent.

-- The dataset by that name; refuses a range that is not one of its windows.
CREATE OR REPLACE FUNCTION ops.dataset_with_window(p_dataset text, p_window tstzrange) RETURNS control.datasets
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    wanted control.datasets;
BEGIN
    SELECT * INTO wanted FROM control.datasets AS d WHERE d.dataset = p_dataset;
    IF NOT found THEN
        RAISE EXCEPTION 'unknown dataset "%"; known: %', p_dataset,
            (SELECT string_agg(d.dataset, ', ' ORDER BY d.dataset) FROM control.datasets AS d)
            USING ERRCODE = 'HW001';
    END IF;
    IF NOT coalesce(control.is_window(wanted, p_window), false) THEN
        IF wanted.grid = 'watermark' THEN
            RAISE EXCEPTION '% is not a window of %, which is loaded by its changes and has no windows', p_window, p_dataset
                USING ERRCODE = 'HW002';
        END IF;
        RAISE EXCEPTION '% is not a window of %: its windows are % long from %', p_window, p_dataset,
            control.span_in_words(wanted.step), wanted.first_window USING ERRCODE = 'HW002';
    END IF;
    RETURN wanted;
END;
$$;

-- Locks a dataset and the rules of its source until the transaction ends, so that one transaction at a time publishes
-- into its table. No loader or reader may take these locks. Read the rules after it: another session may change them.
CREATE OR REPLACE FUNCTION ops.hold_dataset(p_dataset text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM control.datasets AS d WHERE d.dataset = p_dataset FOR NO KEY UPDATE;
    PERFORM FROM control.sources AS s WHERE s.dataset = p_dataset FOR NO KEY UPDATE;
EXCEPTION WHEN lock_not_available THEN
    PERFORM ops.refuse_held(
        'dataset ' || p_dataset, ARRAY['control.datasets'::regclass, 'control.sources'::regclass], TRUE
    );
END;
$$;

-- The partition of a published table with exactly the bounds of a window, or null. One that is being detached
-- concurrently is no longer read and does not count, unless p_being_detached asks for it.
CREATE OR REPLACE FUNCTION ops.partition_of(
    p_published regclass, p_window tstzrange, p_being_detached boolean DEFAULT FALSE
) RETURNS regclass
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    bounds text;
BEGIN
    SELECT format(
        'SELECT format(''FOR VALUES FROM (%%L) TO (%%L)'', %1$L::%3$s::text, %2$L::%3$s::text)',
        lower(p_window), upper(p_window), format_type(a.atttypid, a.atttypmod)
    ) INTO bounds
    FROM pg_partitioned_table AS p JOIN pg_attribute AS a ON p.partrelid = a.attrelid AND a.attnum = p.partattrs[0]
    WHERE p.partrelid = p_published;
    EXECUTE bounds INTO bounds;
    RETURN (
        SELECT i.inhrelid
        FROM pg_inherits AS i JOIN pg_class AS c ON i.inhrelid = c.oid
        WHERE
            i.inhparent = p_published AND i.inhdetachpending = p_being_detached
            AND pg_get_expr(c.relpartbound, c.oid) = bounds
    );
END;
$$;

-- A name for a partition that is unique in the schema.
CREATE OR REPLACE FUNCTION ops.new_partition_name(p_schema text, p_table text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text;
BEGIN
    LOOP
        -- Postgres cuts names at 63 bytes: the number must not be what is cut.
        name := rtrim(left(p_table, 40), '_') || '_' || nextval('ops.partition_numbers');
        EXIT WHEN to_regclass(format('%I.%I', p_schema, name)) IS NULL;
    END LOOP;
    RETURN name;
END;
$$;

-- Drops a table of the publisher's; the error names what depends on it.
CREATE OR REPLACE FUNCTION ops.drop_table(p_table regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    detail text;
BEGIN
    EXECUTE format('DROP TABLE %s', p_table);
EXCEPTION WHEN dependent_objects_still_exist THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE EXCEPTION 'table % cannot be dropped: %', p_table, detail
        USING ERRCODE = 'HW011', HINT = 'Have it read the published table instead.';
END;
$$;

-- Refuses a partition that cannot be replaced: it is being detached, is not a plain table or has another owner.
CREATE OR REPLACE FUNCTION ops.assert_replaceable(
    p_wanted control.datasets, p_window tstzrange, p_partition regclass, p_is_being_detached boolean
) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    published CONSTANT regclass := p_wanted.published_table::regclass;
    flaw text;
BEGIN
    SELECT CASE
        WHEN p_is_being_detached THEN format(
            'it is being detached and no longer read: ALTER TABLE %s DETACH PARTITION %s FINALIZE, then load the window'
            ' again', published, p_partition
        )
        WHEN c.relkind <> 'r' THEN format(
            'it is not a plain table: ALTER TABLE %s DETACH PARTITION %s, then load the window again', published, p_partition
        )
        WHEN c.relowner <> 'publisher'::regrole THEN format(
            'it belongs to %s: ALTER TABLE %s OWNER TO publisher, then load the window again', c.relowner::regrole,
            p_partition
        )
    END INTO flaw
    FROM pg_class AS c WHERE c.oid = p_partition;
    IF flaw IS NOT NULL THEN
        RAISE EXCEPTION '% % is not published, because % is its partition: %', p_wanted.dataset, p_window, p_partition, flaw
            USING ERRCODE = 'HW011';
    END IF;
END;
$$;

-- Proves by a constraint that the rows lie in the window, so that ATTACH need not scan them while it holds its lock.
CREATE OR REPLACE FUNCTION ops.add_window_check(p_wanted control.datasets, p_window tstzrange, p_incoming regclass)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    key_column text;
    outermost record;
BEGIN
    SELECT a.attname INTO STRICT key_column
    FROM pg_partitioned_table AS p JOIN pg_attribute AS a ON p.partrelid = a.attrelid AND a.attnum = p.partattrs[0]
    WHERE p.partrelid = p_wanted.published_table::regclass;
    EXECUTE format(
        'ALTER TABLE %s ADD CONSTRAINT within_window CHECK (%I IS NOT NULL AND %I >= %L AND %I < %L)',
        p_incoming, key_column, key_column, lower(p_window), key_column, upper(p_window)
    );
EXCEPTION WHEN check_violation THEN
    EXECUTE format('SELECT min(t.%1$I), max(t.%1$I) FROM %2$s AS t', key_column, p_incoming) INTO outermost;
    RAISE EXCEPTION '% %: rows lie outside the window: % ranges from % to %', p_wanted.dataset, p_window, key_column,
        outermost.min, outermost.max USING ERRCODE = 'HW004', HINT = 'clean.sql gives such rows a reason.';
END;
$$;

-- Detaches the present partition of a window, then archives it as a version of that state where versions are kept, or
-- drops it. Refuses to lose other rows that no load put there.
CREATE OR REPLACE FUNCTION ops.remove_partition(
    p_wanted control.datasets,
    p_window tstzrange,
    p_partition regclass,
    p_incoming regclass,
    p_landed ops.window_ledger,
    p_state text
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    published CONSTANT regclass := p_wanted.published_table::regclass;
    loses_rows boolean;
BEGIN
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', published, p_partition);
    IF p_landed.version IS NULL THEN
        SELECT t.row_count > 0 AND t IS DISTINCT FROM i INTO loses_rows
        FROM ops.table_content(p_partition, ops.columns_of(published)) AS t,
            ops.table_content(p_incoming, ops.columns_of(published)) AS i;
    END IF;
    IF loses_rows THEN
        RAISE EXCEPTION '% % is not published, because % is its partition: it holds rows that no load put there; '
            'to keep them: ALTER TABLE % DETACH PARTITION %, then load the window again', p_wanted.dataset, p_window,
            p_partition, published, p_partition USING ERRCODE = 'HW011';
    END IF;
    IF p_landed.version IS NOT NULL AND (SELECT keep_versions_days > 0 FROM control.platform) THEN
        PERFORM ops.keep_version(p_landed, p_partition, p_state);
    ELSE
        PERFORM ops.drop_table(p_partition);
    END IF;
END;
$$;

-- Attaches a table that ops.add_window_check has passed as the partition of a window.
CREATE OR REPLACE FUNCTION ops.attach_partition(p_wanted control.datasets, p_window tstzrange, p_incoming regclass)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    schema_name CONSTANT text := split_part(p_wanted.published_table, '.', 1);
    partition_name CONSTANT text := ops.new_partition_name(schema_name, split_part(p_wanted.published_table, '.', 2));
    problem text;
BEGIN
    EXECUTE format('ALTER TABLE %s SET SCHEMA %I', p_incoming, schema_name);
    EXECUTE format('ALTER TABLE %s RENAME TO %I', p_incoming, partition_name);
    BEGIN
        EXECUTE format(
            'ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
            p_wanted.published_table::regclass, p_incoming, lower(p_window), upper(p_window)
        );
    EXCEPTION WHEN invalid_object_definition OR duplicate_object OR datatype_mismatch THEN
        GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT;
        RAISE EXCEPTION '% % cannot be attached to %: %', p_wanted.dataset, p_window, p_wanted.published_table, problem
            USING ERRCODE = 'HW011', HINT = 'Detach a partition that is not a window of the grid.';
    END;
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT within_window', p_incoming);
END;
$$;

-- Makes a table of the publisher's, which is not read yet, the partition of a window; p_landed is what the ledger says
-- of the present one, null where it has not landed. Whatever takes time comes before the first lock on the published
-- table, which is held until the transaction ends.
CREATE OR REPLACE FUNCTION ops.replace_partition(
    p_wanted control.datasets, p_window tstzrange, p_incoming regclass, p_landed ops.window_ledger, p_state text
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    published CONSTANT regclass := p_wanted.published_table::regclass;
    present CONSTANT regclass := ops.partition_of(published, p_window);
    being_detached CONSTANT regclass := ops.partition_of(published, p_window, TRUE);
BEGIN
    PERFORM ops.assert_replaceable(p_wanted, p_window, coalesce(being_detached, present), being_detached IS NOT NULL);
    PERFORM ops.add_window_check(p_wanted, p_window, p_incoming);
    IF present IS NOT NULL THEN
        PERFORM ops.remove_partition(p_wanted, p_window, present, p_incoming, p_landed, p_state);
    END IF;
    PERFORM ops.attach_partition(p_wanted, p_window, p_incoming);
EXCEPTION WHEN lock_not_available THEN
    PERFORM ops.refuse_held('table ' || p_wanted.published_table, ARRAY[published, present, p_incoming]);
END;
$$;

-- Whether a window's partition is the publisher's own and holds what the ledger says of it.
CREATE OR REPLACE FUNCTION ops.matches_ledger(p_published regclass, p_landed ops.window_ledger) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    present CONSTANT regclass := ops.partition_of(p_published, p_landed.window_range);
BEGIN
    -- A partition of another owner might not be readable at all.
    IF present IS NULL OR ops.table_flaw(present) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    RETURN coalesce((
        SELECT (c.row_count, c.content_hash) = (p_landed.rows_published, p_landed.content_hash)
        FROM ops.content_by_shape(present, p_landed.shape_id) AS c
    ), FALSE);
END;
$$;

-- Locks a dataset for publishing into one of its windows; refuses a window that ends in the future.
CREATE OR REPLACE FUNCTION ops.begin_publishing(p_dataset text, p_window tstzrange) RETURNS control.datasets
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    wanted control.datasets;
BEGIN
    PERFORM ops.assert_read_committed();
    PERFORM ops.hold_dataset(p_dataset);
    wanted := ops.dataset_with_window(p_dataset, p_window);
    IF upper(p_window) > ops.clock() THEN
        -- A clock that was put back is corrected some time, so the window is tried again.
        RAISE EXCEPTION '% % ends in the future: it is % in the warehouse', p_dataset, p_window, ops.clock()
            USING ERRCODE = 'HW014';
    END IF;
    RETURN wanted;
END;
$$;

-- Refuses a landed window whose partition no longer holds what that staging set left.
CREATE OR REPLACE FUNCTION ops.assert_still_published(p_published regclass, p_landed ops.window_ledger) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
BEGIN
    IF NOT ops.matches_ledger(p_published, p_landed) THEN
        RAISE EXCEPTION '% % landed from staging set %, but % no longer holds it: extract the window again',
            p_landed.dataset, p_landed.window_range, p_landed.staged_as, p_published USING ERRCODE = 'HW003';
    END IF;
END;
$$;

-- Writes the ledger row of a window that lands from a staging set.
CREATE OR REPLACE FUNCTION ops.record_landing(
    p_staged ops.staging_sets, p_version integer, p_source_snapshot text, p_dag_id text, p_run_id text
) RETURNS ops.window_ledger
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO ops.window_ledger AS l (
        dataset, window_range, version, rows_extracted, rows_published, rows_quarantined, rows_deduplicated,
        content_hash, shape_id, source_snapshot, staged_as, dag_id, run_id, landed_at
    )
    VALUES (
        p_staged.dataset, p_staged.window_range, p_version, p_staged.rows_extracted, p_staged.rows_published,
        p_staged.rows_quarantined, p_staged.rows_deduplicated, p_staged.content_hash, p_staged.shape_id,
        p_source_snapshot, p_staged.set_name, p_dag_id, p_run_id, ops.clock()
    )
    ON CONFLICT (dataset, window_range) DO UPDATE SET
        version = excluded.version, rows_extracted = excluded.rows_extracted, rows_published = excluded.rows_published,
        rows_quarantined = excluded.rows_quarantined, rows_deduplicated = excluded.rows_deduplicated,
        content_hash = excluded.content_hash, shape_id = excluded.shape_id, source_snapshot = excluded.source_snapshot,
        staged_as = excluded.staged_as, dag_id = excluded.dag_id, run_id = excluded.run_id,
        landed_at = excluded.landed_at
    RETURNING l.*
$$;

-- Adds the rejected rows of a staging set to the quarantine of the window that landed from it.
CREATE OR REPLACE FUNCTION ops.quarantine_rejected(p_landed ops.window_ledger, p_rejected regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO quarantine.rejected_rows SELECT $1, $2, reason, source_row, $3, $4 FROM %s', p_rejected
    ) USING p_landed.dataset, p_landed.window_range, p_landed.run_id, p_landed.landed_at;
END;
$$;

-- Publishes one window from its staging set. Outcomes: 'published'; 'already landed' (the ledger holds this very set:
-- an earlier try published it); 'unchanged' (another attempt published the same content meanwhile). The set is used up.
CREATE OR REPLACE FUNCTION ops.publish_window(
    p_dataset text,
    p_window tstzrange,
    p_set text,
    p_base_version integer,
    p_expected_rows bigint,
    p_source_snapshot text,
    p_dag_id text,
    p_run_id text,
    OUT outcome text,
    OUT landed ops.window_ledger
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s'
AS $$
DECLARE
    wanted CONSTANT control.datasets := ops.begin_publishing(p_dataset, p_window);
    published CONSTANT regclass := wanted.published_table::regclass;
    staged record;
    is_same boolean;
BEGIN
    SELECT * INTO landed FROM ops.window_ledger AS l WHERE l.dataset = p_dataset AND l.window_range = p_window;
    IF landed.staged_as = p_set THEN
        PERFORM ops.assert_still_published(published, landed);
        outcome := 'already landed';
        RETURN;
    END IF;
    IF landed.version IS NULL THEN
        PERFORM ops.forget_versions(p_dataset, p_window);
    ELSE
        -- Comes before the check for a stale attempt: extracted again, the window would be refused as held anyway.
        PERFORM ops.assert_not_held(p_dataset, p_window);
    END IF;

    SELECT * INTO staged FROM ops.lock_staging_set(p_set, p_dataset, p_window);
    -- The same content as in the table, not only as in the ledger.
    is_same := landed.version IS NOT NULL
        AND (landed.content_hash, landed.shape_id) = ((staged.taken).content_hash, (staged.taken).shape_id)
        AND ops.matches_ledger(published, landed);
    IF coalesce(landed.version, 0) IS DISTINCT FROM p_base_version THEN
        IF is_same THEN
            PERFORM ops.drop_set(p_set);
            outcome := 'unchanged';
            RETURN;
        END IF;
        RAISE EXCEPTION 'stale attempt: % % was at version % when it was extracted, run % has published version % since',
            p_dataset, p_window, coalesce(p_base_version::text, 'null'), coalesce(landed.run_id, 'none'),
            coalesce(landed.version, 0)
            USING ERRCODE = 'HW006', HINT = 'Extract the window again.';
    END IF;
    PERFORM ops.assert_volume(wanted, p_window, landed, staged.taken, p_expected_rows, p_run_id);

    IF NOT is_same THEN
        PERFORM ops.replace_partition(wanted, p_window, staged.clean_table, landed, 'kept');
    END IF;
    DELETE FROM quarantine.rejected_rows AS q WHERE q.dataset = p_dataset AND q.window_range = p_window;
    landed := ops.record_landing(staged.taken, coalesce(landed.version, 0) + 1, p_source_snapshot, p_dag_id, p_run_id);
    PERFORM ops.quarantine_rejected(landed, staged.rejected_table);
    DELETE FROM ops.skipped_windows AS s WHERE s.dataset = p_dataset AND s.window_range = p_window;
    PERFORM ops.drop_set(p_set);
    outcome := 'published';
END;
$$;

REVOKE EXECUTE ON FUNCTION
ops.publish_window, ops.replace_partition, ops.assert_replaceable, ops.add_window_check, ops.remove_partition,
ops.attach_partition, ops.begin_publishing, ops.assert_still_published, ops.record_landing, ops.quarantine_rejected,
ops.drop_table, ops.new_partition_name, ops.hold_dataset
FROM public;
GRANT EXECUTE ON FUNCTION ops.publish_window TO loader;
