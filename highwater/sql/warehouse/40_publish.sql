-- The only way data is published: a finished staging set becomes the partition of its window, and the ledger row is
-- written, in one transaction. Partitions are found by their bounds in the catalogue, never by a name. Errors that a
-- retry cannot help carry SQLSTATE HW0xx. Run as publisher; again is harmless.

-- The dataset by that name, whose window the range must be.
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
            RAISE EXCEPTION '% is no window of %, which is loaded by its changes and has none', p_window, p_dataset
                USING ERRCODE = 'HW002';
        END IF;
        RAISE EXCEPTION '% is no window of %: its windows are % long from %', p_window, p_dataset,
            control.span_in_words(wanted.step), wanted.first_window USING ERRCODE = 'HW002';
    END IF;
    RETURN wanted;
END;
$$;

-- Holds a dataset and the rules of its source until the transaction ends, so that one publishes into its table at a
-- time: by locks that nobody who loads or reads can take. Rules are read after it, since somebody may be changing them.
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

-- The partition of a published table with exactly the bounds of a window; null where there is none. One that is being
-- detached concurrently is none, since nobody reads it any more; only who asks for such a one is given it.
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

-- A name for a partition that no table of the schema has.
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

-- Makes a table of the publisher's, which nobody reads yet, the partition of a window. What stands there is set aside
-- as a version of that state where versions are kept, else dropped. Other rows that no load has put there are
-- somebody's, and refused. All else that takes time comes before the first lock on the published table, which lasts
-- until the transaction ends.
CREATE OR REPLACE FUNCTION ops.replace_partition(
    p_wanted control.datasets, p_window tstzrange, p_incoming regclass, p_standing ops.window_ledger, p_state text
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    published CONSTANT regclass := p_wanted.published_table::regclass;
    schema_name CONSTANT text := split_part(p_wanted.published_table, '.', 1);
    partition_name CONSTANT text := ops.new_partition_name(schema_name, split_part(p_wanted.published_table, '.', 2));
    standing CONSTANT regclass := ops.partition_of(published, p_window);
    being_detached CONSTANT regclass := ops.partition_of(published, p_window, TRUE);
    key_column text;
    outermost record;
    in_the_way text;
    loses_rows boolean;
BEGIN
    SELECT CASE
        WHEN c.oid = being_detached THEN format(
            'it is being detached, and nobody reads it: ALTER TABLE %s DETACH PARTITION %s FINALIZE, then load the window'
            ' again', published, being_detached
        )
        WHEN c.relkind <> 'r' THEN format(
            'it is no plain table: ALTER TABLE %s DETACH PARTITION %s, then load the window again', published, standing
        )
        WHEN c.relowner <> 'publisher'::regrole THEN format(
            'it belongs to %s: ALTER TABLE %s OWNER TO publisher, then load the window again', c.relowner::regrole,
            standing
        )
    END INTO in_the_way
    FROM pg_class AS c WHERE c.oid = coalesce(being_detached, standing);
    IF in_the_way IS NOT NULL THEN
        RAISE EXCEPTION '% % is not published, since % stands in its place: %', p_wanted.dataset, p_window,
            coalesce(being_detached, standing), in_the_way USING ERRCODE = 'HW011';
    END IF;
    SELECT a.attname INTO STRICT key_column
    FROM pg_partitioned_table AS p JOIN pg_attribute AS a ON p.partrelid = a.attrelid AND a.attnum = p.partattrs[0]
    WHERE p.partrelid = published;
    -- Proves the bounds, so that ATTACH need not look at the rows while it holds its lock.
    BEGIN
        EXECUTE format(
            'ALTER TABLE %s ADD CONSTRAINT within_window CHECK (%I IS NOT NULL AND %I >= %L AND %I < %L)',
            p_incoming, key_column, key_column, lower(p_window), key_column, upper(p_window)
        );
    EXCEPTION WHEN check_violation THEN
        EXECUTE format('SELECT min(t.%1$I), max(t.%1$I) FROM %2$s AS t', key_column, p_incoming) INTO outermost;
        RAISE EXCEPTION '% %: rows lie outside the window: % reaches from % to %', p_wanted.dataset, p_window, key_column,
            outermost.min, outermost.max USING ERRCODE = 'HW004', HINT = 'clean.sql gives such rows a reason.';
    END;
    IF standing IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', published, standing);
        IF p_standing.version IS NULL THEN
            SELECT t.row_count > 0 AND t IS DISTINCT FROM i INTO loses_rows
            FROM ops.table_content(standing, ops.columns_of(published)) AS t,
                ops.table_content(p_incoming, ops.columns_of(published)) AS i;
        END IF;
        IF loses_rows THEN
            RAISE EXCEPTION '% % is not published, since % stands in its place: it holds rows that no load has put there; '
                'to keep them: ALTER TABLE % DETACH PARTITION %, then load the window again', p_wanted.dataset, p_window,
                standing, published, standing USING ERRCODE = 'HW011';
        END IF;
        IF p_standing.version IS NOT NULL AND (SELECT keep_versions_days > 0 FROM control.platform) THEN
            PERFORM ops.keep_version(p_standing, standing, p_state);
        ELSE
            PERFORM ops.drop_table(standing);
        END IF;
    END IF;
    EXECUTE format('ALTER TABLE %s SET SCHEMA %I', p_incoming, schema_name);
    EXECUTE format('ALTER TABLE %s RENAME TO %I', p_incoming, partition_name);
    BEGIN
        EXECUTE format(
            'ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
            published, p_incoming, lower(p_window), upper(p_window)
        );
    EXCEPTION WHEN invalid_object_definition OR duplicate_object OR datatype_mismatch THEN
        GET STACKED DIAGNOSTICS in_the_way = MESSAGE_TEXT;
        RAISE EXCEPTION '% % cannot be attached to %: %', p_wanted.dataset, p_window, p_wanted.published_table, in_the_way
            USING ERRCODE = 'HW011', HINT = 'Detach a partition that is no window of the grid.';
    END;
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT within_window', p_incoming);
EXCEPTION WHEN lock_not_available THEN
    PERFORM ops.refuse_held('table ' || p_wanted.published_table, ARRAY[published, standing, p_incoming]);
END;
$$;

-- Drops a table of the publisher's; what depends on it is named.
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

-- Whether a window's partition holds what the ledger says of it, and is safe.
CREATE OR REPLACE FUNCTION ops.stands_as_landed(p_published regclass, p_landed ops.window_ledger) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    standing CONSTANT regclass := ops.partition_of(p_published, p_landed.window_range);
BEGIN
    -- One that is another's might not be read at all.
    IF standing IS NULL OR ops.table_flaw(standing) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    RETURN coalesce((
        SELECT (c.row_count, c.content_hash) = (p_landed.rows_published, p_landed.content_hash)
        FROM ops.content_by_shape(standing, p_landed.shape_id) AS c
    ), FALSE);
END;
$$;

-- Publishes one window from its staging set. Outcomes: 'published'; 'already landed' (this very set is what the ledger
-- holds: an earlier try did it); 'unchanged' (another attempt published the same content meanwhile). The set is used
-- up.
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
    wanted control.datasets;
    published regclass;
    former ops.window_ledger;
    staged record;
    is_same boolean;
BEGIN
    PERFORM ops.assert_read_committed();
    PERFORM ops.hold_dataset(p_dataset);
    wanted := ops.dataset_with_window(p_dataset, p_window);
    IF upper(p_window) > ops.clock() THEN
        -- A clock that was put back comes right again, so the window is tried again.
        RAISE EXCEPTION '% % ends in the future: it is % in the warehouse', p_dataset, p_window, ops.clock()
            USING ERRCODE = 'HW014';
    END IF;
    published := wanted.published_table::regclass;
    SELECT * INTO former FROM ops.window_ledger AS l WHERE l.dataset = p_dataset AND l.window_range = p_window;
    IF former.staged_as = p_set THEN
        IF NOT ops.stands_as_landed(published, former) THEN
            RAISE EXCEPTION '% % landed from staging set %, but % does not hold it any more: extract the window again',
                p_dataset, p_window, p_set, published USING ERRCODE = 'HW003';
        END IF;
        outcome := 'already landed';
        landed := former;
        RETURN;
    END IF;
    IF former.version IS NULL THEN
        PERFORM ops.forget_versions(p_dataset, p_window);
    ELSE
        -- Of what was extracted before a rollback too this is the reason: extracted again, it would be held as well.
        PERFORM ops.assert_not_held(p_dataset, p_window);
    END IF;

    SELECT * INTO staged FROM ops.lock_staging_set(p_set, p_dataset, p_window);
    -- The same content as what is there, not only as what the ledger says of it.
    is_same := former.version IS NOT NULL
        AND (former.content_hash, former.shape_id) = ((staged.taken).content_hash, (staged.taken).shape_id)
        AND ops.stands_as_landed(published, former);
    IF coalesce(former.version, 0) IS DISTINCT FROM p_base_version THEN
        IF is_same THEN
            PERFORM ops.drop_set(p_set);
            outcome := 'unchanged';
            landed := former;
            RETURN;
        END IF;
        RAISE EXCEPTION 'stale attempt: % % was at version % when it was extracted, run % has published version % since',
            p_dataset, p_window, coalesce(p_base_version::text, 'null'), coalesce(former.run_id, 'none'),
            coalesce(former.version, 0)
            USING ERRCODE = 'HW006', HINT = 'Extract the window again.';
    END IF;
    PERFORM ops.assert_volume(wanted, p_window, former, staged.taken, p_expected_rows, p_run_id);

    IF NOT is_same THEN
        PERFORM ops.replace_partition(wanted, p_window, staged.clean_table, former, 'kept');
    END IF;
    DELETE FROM quarantine.rejected_rows AS q WHERE q.dataset = p_dataset AND q.window_range = p_window;
    INSERT INTO ops.window_ledger AS l (
        dataset, window_range, version, rows_extracted, rows_published, rows_quarantined, rows_deduplicated,
        content_hash, shape_id, source_snapshot, staged_as, dag_id, run_id, landed_at
    )
    VALUES (
        p_dataset, p_window, coalesce(former.version, 0) + 1, (staged.taken).rows_extracted, (staged.taken).rows_published,
        (staged.taken).rows_quarantined, (staged.taken).rows_deduplicated, (staged.taken).content_hash,
        (staged.taken).shape_id, p_source_snapshot, p_set, p_dag_id, p_run_id, ops.clock()
    )
    ON CONFLICT (dataset, window_range) DO UPDATE SET
        version = excluded.version, rows_extracted = excluded.rows_extracted, rows_published = excluded.rows_published,
        rows_quarantined = excluded.rows_quarantined, rows_deduplicated = excluded.rows_deduplicated,
        content_hash = excluded.content_hash, shape_id = excluded.shape_id, source_snapshot = excluded.source_snapshot,
        staged_as = excluded.staged_as, dag_id = excluded.dag_id, run_id = excluded.run_id,
        landed_at = excluded.landed_at
    RETURNING l.* INTO landed;
    EXECUTE format(
        'INSERT INTO quarantine.rejected_rows SELECT $1, $2, reason, source_row, $3, $4 FROM %s', staged.rejected_table
    ) USING p_dataset, p_window, p_run_id, landed.landed_at;
    DELETE FROM ops.skipped_windows AS s WHERE s.dataset = p_dataset AND s.window_range = p_window;
    PERFORM ops.drop_set(p_set);
    outcome := 'published';
END;
$$;

REVOKE EXECUTE ON FUNCTION
ops.publish_window, ops.replace_partition, ops.drop_table, ops.new_partition_name, ops.hold_dataset
FROM public;
GRANT EXECUTE ON FUNCTION ops.publish_window TO loader;
