-- The only way data is published. A set in staging is three plain tables of the loader's: <set>_raw as it came,
-- <set>_clean in the published shape, <set>_rejected with reasons. The functions take it over and write the ledger row
-- in one transaction. Errors a retry cannot mend carry SQLSTATE HW0xx.

-- Refuses a table that could run code of its owner with the publisher's rights, or is no plain table.
CREATE OR REPLACE FUNCTION ops.assert_plain_table(p_table regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    flaw text;
BEGIN
    SELECT CASE
        WHEN c.relkind <> 'r' OR c.relispartition THEN 'it is no plain table'
        WHEN c.relhastriggers THEN 'it has a trigger'
        WHEN c.relhasrules THEN 'it has a rule'
        WHEN c.relrowsecurity THEN 'it has row security'
        WHEN EXISTS (SELECT FROM pg_inherits WHERE p_table IN (inhrelid, inhparent)) THEN 'it inherits'
        WHEN EXISTS (
            SELECT FROM pg_index AS i
            WHERE i.indrelid = p_table AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
        ) THEN 'it has an index on an expression'
        WHEN EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = p_table AND k.contype = 'c')
            THEN 'it has a check constraint'
        WHEN EXISTS (SELECT FROM pg_attrdef AS f WHERE f.adrelid = p_table) THEN 'it has a default or generated column'
        WHEN EXISTS (
            SELECT FROM pg_attribute AS a JOIN pg_type AS t ON a.atttypid = t.oid
            WHERE a.attrelid = p_table AND a.attnum > 0 AND NOT a.attisdropped AND t.typnamespace <> 'pg_catalog'::regnamespace
        ) THEN 'it has a column of a type that is not built in'
    END
    INTO flaw
    FROM pg_class AS c WHERE c.oid = p_table;
    IF flaw IS NOT NULL THEN
        RAISE EXCEPTION 'staging table % is refused: %', p_table, flaw USING ERRCODE = 'HW005';
    END IF;
END;
$$;

-- The columns of a table's primary key in order, or null: what an aside table needs before it is attached.
CREATE OR REPLACE FUNCTION ops.primary_key_of(p_table text) RETURNS text[]
LANGUAGE sql STABLE
RETURN (
    SELECT array_agg(a.attname::text ORDER BY k.place)
    FROM pg_catalog.pg_index AS i
    CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
    INNER JOIN pg_catalog.pg_attribute AS a ON i.indrelid = a.attrelid AND k.attnum = a.attnum
    WHERE i.indrelid = p_table::regclass AND i.indisprimary
);

-- Rows and content hash of a table, whatever the order of its rows.
CREATE OR REPLACE FUNCTION ops.table_content(p_table regclass, OUT row_count bigint, OUT content_hash text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        $query$
            SELECT count(*), md5(concat_ws(
                ':', count(*), sum(hash_record_extended(row(t.*), 0)::numeric), sum(hash_record_extended(row(t.*), 1)::numeric)
            ))
            FROM %s AS t
        $query$, p_table
    ) INTO row_count, content_hash;
END;
$$;

-- Takes hold of a set until the transaction ends, refuses one that is not there whole or not safe, and counts it: what
-- the tables hold counts, not what the caller says of them.
CREATE OR REPLACE FUNCTION ops.take_set(
    p_set text,
    p_dataset text,
    p_window tstzrange,
    p_rows_extracted bigint,
    p_rows_deduplicated bigint,
    OUT raw_table regclass,
    OUT clean_table regclass,
    OUT rejected_table regclass,
    OUT rows_raw bigint,
    OUT rows_clean bigint,
    OUT rows_rejected bigint,
    OUT content_hash text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    raw_table := to_regclass(format('staging.%I', p_set || '_raw'));
    clean_table := to_regclass(format('staging.%I', p_set || '_clean'));
    rejected_table := to_regclass(format('staging.%I', p_set || '_rejected'));
    IF raw_table IS NULL OR clean_table IS NULL OR rejected_table IS NULL THEN
        RAISE EXCEPTION 'staging set % is not there whole: take % % from its source again', p_set, p_dataset, p_window
            USING ERRCODE = 'HW003';
    END IF;
    EXECUTE format('LOCK TABLE %s, %s, %s IN ACCESS EXCLUSIVE MODE', raw_table, clean_table, rejected_table);
    PERFORM ops.assert_plain_table(raw_table), ops.assert_plain_table(clean_table), ops.assert_plain_table(rejected_table);
    EXECUTE format('SELECT count(*) FROM %s', raw_table) INTO rows_raw;
    EXECUTE format('SELECT count(*) FROM %s', rejected_table) INTO rows_rejected;
    SELECT c.row_count, c.content_hash INTO rows_clean, content_hash FROM ops.table_content(clean_table) AS c;
    IF rows_raw <> p_rows_extracted OR rows_raw <> rows_clean + rows_rejected + p_rows_deduplicated THEN
        RAISE EXCEPTION '% %: % rows were extracted, but staging holds % = % clean + % rejected + % duplicates',
            p_dataset, p_window, p_rows_extracted, rows_raw, rows_clean, rows_rejected, p_rows_deduplicated
            USING ERRCODE = 'HW004';
    END IF;
END;
$$;

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
        RAISE EXCEPTION '% is no window of %: its windows are % long from %', p_window, p_dataset, wanted.step,
            wanted.first_window USING ERRCODE = 'HW002';
    END IF;
    RETURN wanted;
END;
$$;

-- The start of a window as it stands in names of tables: 20261024 or 20261024t0600.
CREATE OR REPLACE FUNCTION ops.window_tag(p_window tstzrange) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
RETURN to_char(
    lower(p_window),
    CASE WHEN lower(p_window) = date_trunc('day', lower(p_window)) THEN 'YYYYMMDD' ELSE 'YYYYMMDD"t"HH24MI' END
);

-- Makes a table of the publisher's, which nobody reads yet, the partition of a window. What stands there is set aside
-- as a version of that state where versions are kept, else dropped. All that takes time comes before the first lock on
-- the published table, which lasts until the transaction ends.
CREATE OR REPLACE FUNCTION ops.swap_in(
    p_wanted control.datasets, p_window tstzrange, p_incoming regclass, p_standing ops.window_ledger, p_state text
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    published CONSTANT regclass := p_wanted.published_table::regclass;
    schema_name CONSTANT text := split_part(p_wanted.published_table, '.', 1);
    partition_name CONSTANT text := split_part(p_wanted.published_table, '.', 2) || '_' || ops.window_tag(p_window);
    standing CONSTANT regclass := to_regclass(format('%I.%I', schema_name, partition_name));
    key_column text;
    former_id bigint;
BEGIN
    SELECT a.attname INTO STRICT key_column
    FROM pg_partitioned_table AS p JOIN pg_attribute AS a ON p.partrelid = a.attrelid AND a.attnum = p.partattrs[0]
    WHERE p.partrelid = published;
    -- Proves the bounds, so that ATTACH need not look at the rows while it holds its lock.
    EXECUTE format(
        'ALTER TABLE %s ADD CONSTRAINT within_window CHECK (%I IS NOT NULL AND %I >= %L AND %I < %L)',
        p_incoming, key_column, key_column, lower(p_window), key_column, upper(p_window)
    );
    IF p_standing.version IS NOT NULL
        AND EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = standing AND i.inhparent = published)
        AND (SELECT keep_versions_days > 0 FROM control.platform) THEN
        former_id := ops.keep_version(p_standing, p_state);
        EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', published, standing);
        EXECUTE format('ALTER TABLE %s SET SCHEMA former', standing);
        EXECUTE format('ALTER TABLE %s RENAME TO %I', standing, ops.version_table(p_standing, former_id));
    ELSE
        EXECUTE format('DROP TABLE IF EXISTS %I.%I', schema_name, partition_name);
    END IF;
    EXECUTE format('ALTER TABLE %s SET SCHEMA %I', p_incoming, schema_name);
    EXECUTE format('ALTER TABLE %s RENAME TO %I', p_incoming, partition_name);
    EXECUTE format(
        'ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
        published, p_incoming, lower(p_window), upper(p_window)
    );
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT within_window', p_incoming);
END;
$$;

-- Publishes one window from its staging set. Outcomes: 'published'; 'already landed' (this very set is what the ledger
-- holds: an earlier try did it); 'unchanged' (another attempt published the same content meanwhile).
CREATE OR REPLACE FUNCTION ops.publish_window(
    p_dataset text,
    p_window tstzrange,
    p_set text,
    p_base_version integer,
    p_rows_extracted bigint,
    p_rows_deduplicated bigint,
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
    former ops.window_ledger;
    taken record;
BEGIN
    wanted := ops.dataset_with_window(p_dataset, p_window);
    PERFORM pg_advisory_xact_lock(hashtextextended(p_dataset || p_window::text, 0));
    SELECT * INTO former FROM ops.window_ledger AS l WHERE l.dataset = p_dataset AND l.window_range = p_window;
    IF former.staged_as = p_set THEN
        outcome := 'already landed';
        landed := former;
        RETURN;
    END IF;
    IF former.version IS NULL THEN
        PERFORM ops.forget_versions(p_dataset, p_window);
    END IF;

    SELECT * INTO taken FROM ops.take_set(p_set, p_dataset, p_window, p_rows_extracted, p_rows_deduplicated);
    IF coalesce(former.version, 0) <> p_base_version THEN
        IF former.content_hash = taken.content_hash THEN
            EXECUTE format('DROP TABLE %s, %s, %s', taken.raw_table, taken.clean_table, taken.rejected_table);
            outcome := 'unchanged';
            landed := former;
            RETURN;
        END IF;
        RAISE EXCEPTION 'stale attempt: % % was at version % when it was extracted, run % has published version % since',
            p_dataset, p_window, p_base_version, former.run_id, former.version
            USING ERRCODE = 'HW006', HINT = 'Extract the window again.';
    END IF;

    IF former.content_hash IS DISTINCT FROM taken.content_hash THEN
        EXECUTE format('ALTER TABLE %s OWNER TO publisher', taken.clean_table);
        PERFORM ops.swap_in(wanted, p_window, taken.clean_table, former, 'kept');
    ELSE
        EXECUTE format('DROP TABLE %s', taken.clean_table);
    END IF;

    DELETE FROM quarantine.rejected_rows AS q WHERE q.dataset = p_dataset AND q.window_range = p_window;
    INSERT INTO ops.window_ledger AS l (
        dataset, window_range, version, rows_extracted, rows_published, rows_quarantined, rows_deduplicated,
        content_hash, source_snapshot, staged_as, dag_id, run_id, landed_at
    )
    VALUES (
        p_dataset, p_window, p_base_version + 1, taken.rows_raw, taken.rows_clean, taken.rows_rejected, p_rows_deduplicated,
        taken.content_hash, p_source_snapshot, p_set, p_dag_id, p_run_id, ops.clock()
    )
    ON CONFLICT (dataset, window_range) DO UPDATE SET
        version = excluded.version, rows_extracted = excluded.rows_extracted, rows_published = excluded.rows_published,
        rows_quarantined = excluded.rows_quarantined, rows_deduplicated = excluded.rows_deduplicated,
        content_hash = excluded.content_hash, source_snapshot = excluded.source_snapshot,
        staged_as = excluded.staged_as, dag_id = excluded.dag_id, run_id = excluded.run_id,
        landed_at = excluded.landed_at
    RETURNING l.* INTO landed;
    EXECUTE format(
        'INSERT INTO quarantine.rejected_rows SELECT $1, $2, reason, source_row, $3, $4 FROM %s', taken.rejected_table
    ) USING p_dataset, p_window, p_run_id, landed.landed_at;
    DELETE FROM ops.skipped_windows AS s WHERE s.dataset = p_dataset AND s.window_range = p_window;
    EXECUTE format('DROP TABLE %s, %s', taken.raw_table, taken.rejected_table);
    outcome := 'published';
END;
$$;

REVOKE EXECUTE ON FUNCTION
ops.publish_window, ops.assert_plain_table, ops.take_set, ops.swap_in
FROM public;
GRANT EXECUTE ON FUNCTION ops.publish_window TO loader;
