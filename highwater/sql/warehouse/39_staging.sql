-- Staging sets: the tables that an attempt at a window fills before anything is published. They belong to the publisher
-- and are named by the set's number: <set>_raw as extracted from the source, <set>_clean like the published table,
-- <set>_rejected with reasons, <set>_copies with the keys of duplicates. The loader fills them and owns none; a
-- finished set is not written to. Run as publisher; idempotent.

-- The table of a set by its part, or null.
CREATE OR REPLACE FUNCTION ops.set_table(p_set text, p_part text) RETURNS regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN to_regclass(format('staging.%I', p_set || '_' || p_part));

-- Closes a table of a set to the session that fills it: revokes the right to write, waits for other writers, and
-- refuses while a statement of this session still writes to it, whose rights were checked when it began.
CREATE OR REPLACE FUNCTION ops.close_table(p_table regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('REVOKE INSERT ON %s FROM loader', p_table);
    PERFORM ops.lock_tables(ARRAY[p_table]);
    -- Changes nothing, but fails while the table is in use.
    EXECUTE format('ALTER TABLE %s RESET (fillfactor)', p_table);
EXCEPTION WHEN object_in_use THEN
    RAISE EXCEPTION 'table % is being written to by the statement that closes it', p_table USING ERRCODE = 'HW003';
END;
$$;

-- Locks the set by that name until the transaction ends, and returns it.
CREATE OR REPLACE FUNCTION ops.lock_set(p_set text) RETURNS ops.staging_sets
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held ops.staging_sets;
BEGIN
    SELECT * INTO held FROM ops.staging_sets AS s WHERE s.set_name = p_set FOR UPDATE;
    IF NOT found OR ops.set_table(p_set, 'raw') IS NULL THEN
        RAISE EXCEPTION 'staging set % does not exist (any longer): extract the window again', coalesce(p_set, 'null')
            USING ERRCODE = 'HW003';
    END IF;
    RETURN held;
END;
$$;

-- Begins a set for a window; returns its name. The functions below create its tables.
CREATE OR REPLACE FUNCTION ops.new_set(p_dataset text, p_window tstzrange, p_dag_id text, p_run_id text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made text;
BEGIN
    IF EXISTS (SELECT FROM control.datasets AS d WHERE d.dataset = p_dataset AND d.grid = 'fixed') THEN
        PERFORM ops.dataset_with_window(p_dataset, p_window);
    ELSIF NOT EXISTS (SELECT FROM control.datasets AS d WHERE d.dataset = p_dataset) THEN
        RAISE EXCEPTION 'unknown dataset "%"; known: %', p_dataset,
            (SELECT string_agg(d.dataset, ', ' ORDER BY d.dataset) FROM control.datasets AS d) USING ERRCODE = 'HW001';
    END IF;
    INSERT INTO ops.staging_sets AS s (dataset, window_range, dag_id, run_id, made_at)
    VALUES (p_dataset, p_window, p_dag_id, p_run_id, ops.clock())
    RETURNING s.set_name INTO made;
    RETURN made;
END;
$$;

-- Creates a table of a set, with columns of built-in types, for the loader to fill; an existing one is replaced.
CREATE OR REPLACE FUNCTION ops.new_set_table(p_set text, p_part text, p_columns text[], p_types regtype[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET default_tablespace = '' SET default_table_access_method = 'heap'
AS $$
DECLARE
    strange text;
BEGIN
    PERFORM FROM ops.staging_sets AS s
    WHERE s.set_name = p_set AND (p_part <> 'raw' OR s.finished_at IS NULL) FOR UPDATE;
    IF NOT found THEN
        RAISE EXCEPTION 'staging set % does not exist or is finished: extract the window again', p_set
            USING ERRCODE = 'HW003';
    END IF;
    IF p_part = 'raw' AND ops.set_table(p_set, 'clean') IS NOT NULL THEN
        RAISE EXCEPTION 'staging set % is being cleaned and its raw table is closed: extract the window again',
            p_set USING ERRCODE = 'HW003';
    END IF;
    IF p_part NOT IN ('raw', 'compared', 'together') THEN
        RAISE EXCEPTION 'invalid part "%" of a staging set: expected raw, compared or together', p_part
            USING ERRCODE = 'HW003';
    END IF;
    SELECT format('column %I has type %s', c.name, c.type) INTO strange
    FROM unnest(p_columns, p_types) AS c (name, type) LEFT JOIN pg_type AS t ON c.type = t.oid
    WHERE t.typnamespace IS DISTINCT FROM 'pg_catalog'::regnamespace OR t.typtype NOT IN ('b', 'r', 'm')
    LIMIT 1;
    IF strange IS NOT NULL THEN
        RAISE EXCEPTION '%: a staging table takes built-in types only: cast it', strange USING ERRCODE = 'HW011';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS staging.%I', p_set || '_' || p_part);
    EXECUTE format(
        'CREATE TABLE staging.%I (%s)', p_set || '_' || p_part,
        (
            SELECT string_agg(format('%I %s', c.name, format_type(c.type, -1)), ', ' ORDER BY c.place)
            FROM unnest(p_columns, p_types) WITH ORDINALITY AS c (name, type, place)
        )
    );
    EXECUTE format('GRANT SELECT, INSERT ON staging.%I TO loader', p_set || '_' || p_part);
END;
$$;

-- What a clean.sql of a dataset may return (columns that are not generated, with their types) and what it must (those
-- without a default). Refuses a dataset whose table cannot be published into.
CREATE OR REPLACE FUNCTION ops.cleaned_shape(
    p_dataset text,
    OUT published_table text,
    OUT written_columns text[],
    OUT written_types text[],
    OUT wanted_columns text[],
    OUT key_columns text[]
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM ops.assert_publishable(p_dataset);
    SELECT d.published_table INTO STRICT published_table FROM control.datasets AS d WHERE d.dataset = p_dataset;
    key_columns := ops.primary_key_of(published_table);
    SELECT
        array_agg(a.attname::text ORDER BY a.attnum),
        array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum),
        coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (
            -- The value of an identity column would differ with every load.
            WHERE a.attnotnull AND (a.attidentity <> '' OR NOT a.atthasdef)
        ), '{}')
    INTO written_columns, written_types, wanted_columns
    FROM pg_attribute AS a
    WHERE
        a.attrelid = published_table::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
END;
$$;

-- Closes the raw table of a set and creates the tables that its rows are cleaned into, for the loader to fill. What an
-- earlier try left is dropped, and two at once take turns. The caller fills the tables in the same transaction and then
-- calls ops.finish_cleaning.
CREATE OR REPLACE FUNCTION ops.begin_cleaning(
    p_set text,
    OUT published_table text,
    OUT written_columns text[],
    OUT wanted_columns text[],
    OUT key_columns text[],
    OUT has_landed boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET default_tablespace = '' SET default_table_access_method = 'heap'
AS $$
DECLARE
    cleaning CONSTANT ops.staging_sets := ops.lock_set(p_set);
    published regclass;
BEGIN
    SELECT c.published_table, c.written_columns, c.wanted_columns, c.key_columns
    INTO published_table, written_columns, wanted_columns, key_columns
    FROM ops.cleaned_shape(cleaning.dataset) AS c;
    published := published_table::regclass;
    PERFORM ops.close_table(ops.set_table(p_set, 'raw'));
    UPDATE ops.staging_sets AS s SET finished_at = NULL WHERE s.set_id = cleaning.set_id;
    -- An analyst may be reading what an audit refused.
    PERFORM ops.lock_tables(array_remove(
        ARRAY[ops.set_table(p_set, 'clean'), ops.set_table(p_set, 'rejected'), ops.set_table(p_set, 'copies')], NULL
    ));
    EXECUTE format(
        'DROP TABLE IF EXISTS staging.%I, staging.%I, staging.%I', p_set || '_clean', p_set || '_rejected', p_set || '_copies'
    );
    EXECUTE format(
        'CREATE TABLE staging.%I (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE'
        ' INCLUDING COMPRESSION)', p_set || '_clean', published
    );
    EXECUTE format(
        'CREATE TABLE staging.%I (reason text NOT NULL, source_row jsonb NOT NULL,'
        ' CONSTRAINT a_refused_row_has_a_reason CHECK (reason ~ ''\S''),'
        ' CONSTRAINT source_row_is_a_row CHECK (jsonb_typeof(source_row) = ''object''))', p_set || '_rejected'
    );
    EXECUTE format(
        'CREATE TABLE staging.%I (%s)', p_set || '_copies',
        (
            SELECT string_agg(format('%I %s NOT NULL', a.attname, format_type(a.atttypid, a.atttypmod)), ', ')
            FROM pg_attribute AS a WHERE a.attrelid = published AND a.attname::text = ANY (key_columns)
        )
    );
    EXECUTE format(
        'GRANT SELECT, INSERT ON staging.%I, staging.%I, staging.%I TO loader',
        p_set || '_clean', p_set || '_rejected', p_set || '_copies'
    );
    has_landed := EXISTS (
        SELECT FROM ops.window_ledger AS l WHERE l.dataset = cleaning.dataset AND l.window_range = cleaning.window_range
    );
END;
$$;

-- Empties the clean table of a set, so that it can be filled again by COPY … FREEZE in this transaction.
CREATE OR REPLACE FUNCTION ops.empty_clean_table(p_set text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM ops.lock_set(p_set);
    IF EXISTS (SELECT FROM ops.staging_sets AS s WHERE s.set_name = p_set AND s.finished_at IS NOT NULL) THEN
        RAISE EXCEPTION 'staging set % is finished', p_set USING ERRCODE = 'HW003';
    END IF;
    EXECUTE format('TRUNCATE staging.%I', p_set || '_clean');
END;
$$;

-- Closes the tables of a set, adds keys and indexes to the clean one, and counts: each extracted row is clean,
-- rejected, or a copy of a clean one. The ledger will have these counts.
CREATE OR REPLACE FUNCTION ops.finish_cleaning(
    p_set text, OUT rows_clean bigint, OUT rows_rejected bigint, OUT rows_deduplicated bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    cleaning CONSTANT ops.staging_sets := ops.lock_set(p_set);
    published_table text;
    keys text[];
    clean CONSTANT regclass := ops.set_table(p_set, 'clean');
    rows_raw bigint;
    orphans bigint;
    content text;
    all_columns text[];
BEGIN
    PERFORM ops.assert_read_committed();
    IF clean IS NULL OR cleaning.finished_at IS NOT NULL THEN
        RAISE EXCEPTION 'staging set % is not being cleaned', p_set USING ERRCODE = 'HW003';
    END IF;
    SELECT d.published_table INTO STRICT published_table FROM control.datasets AS d WHERE d.dataset = cleaning.dataset;
    keys := ops.primary_key_of(published_table);
    PERFORM ops.close_table(ops.set_table(p_set, 'raw')), ops.close_table(clean),
        ops.close_table(ops.set_table(p_set, 'rejected')), ops.close_table(ops.set_table(p_set, 'copies'));
    EXECUTE format('REVOKE ALL ON staging.%I FROM loader', p_set || '_copies');
    PERFORM ops.add_keys_and_indexes(clean, published_table::regclass);
    EXECUTE format('ANALYZE %s', clean);
    EXECUTE format('SELECT count(*) FROM staging.%I', p_set || '_raw') INTO rows_raw;
    EXECUTE format('SELECT count(*) FROM staging.%I', p_set || '_rejected') INTO rows_rejected;
    EXECUTE format('SELECT count(*) FROM staging.%I', p_set || '_copies') INTO rows_deduplicated;
    all_columns := ops.columns_of(clean);
    SELECT c.row_count, c.content_hash INTO rows_clean, content FROM ops.table_content(clean, all_columns) AS c;
    IF rows_raw <> rows_clean + rows_rejected + rows_deduplicated THEN
        RAISE EXCEPTION '% %: % rows were extracted, but clean.sql returned % = % clean + % rejected + % copies',
            cleaning.dataset, cleaning.window_range, rows_raw, rows_clean + rows_rejected + rows_deduplicated, rows_clean,
            rows_rejected, rows_deduplicated
            USING ERRCODE = 'HW004', HINT = 'clean.sql must return one row for each row of raw.';
    END IF;
    IF rows_deduplicated > 0 AND keys IS NULL THEN
        RAISE EXCEPTION '% %: % rows are marked as copies (copy_no above 1), but % has no primary key to identify copies by',
            cleaning.dataset, cleaning.window_range, rows_deduplicated, published_table USING ERRCODE = 'HW004';
    ELSIF rows_deduplicated > 0 THEN
        EXECUTE format(
            'SELECT count(*) FROM staging.%I AS c WHERE NOT EXISTS (SELECT FROM %s AS k WHERE (%s) = (%s))',
            p_set || '_copies', clean, ops.column_list(keys, 'k.'), ops.column_list(keys, 'c.')
        ) INTO orphans;
        IF orphans > 0 THEN
            RAISE EXCEPTION '% %: % rows are marked as copies (copy_no above 1), but no clean row has their key (%)',
                cleaning.dataset, cleaning.window_range, orphans, ops.column_list(keys)
                USING ERRCODE = 'HW004', HINT = 'One of the copies must have copy_no 1 and no reason.';
        END IF;
    END IF;
    -- After a failed audit an analyst inspects the rows here.
    PERFORM ops.let_analyst_read(clean, cleaning.dataset),
        ops.let_analyst_read(ops.set_table(p_set, 'rejected'), cleaning.dataset);
    UPDATE ops.staging_sets AS s
    SET
        finished_at = ops.clock(), rows_extracted = rows_raw, rows_published = rows_clean, rows_quarantined = rows_rejected,
        rows_deduplicated = finish_cleaning.rows_deduplicated, content_hash = content, shape_id = ops.shape_of(all_columns)
    WHERE s.set_id = cleaning.set_id;
END;
$$;

-- Locks a finished set of exactly that window until the transaction ends; refuses any other.
CREATE OR REPLACE FUNCTION ops.lock_staging_set(
    p_set text,
    p_dataset text,
    p_window tstzrange,
    OUT taken ops.staging_sets,
    OUT clean_table regclass,
    OUT rejected_table regclass
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    taken := ops.lock_set(p_set);
    clean_table := ops.set_table(p_set, 'clean');
    rejected_table := ops.set_table(p_set, 'rejected');
    IF (taken.dataset, taken.window_range) IS DISTINCT FROM (p_dataset, p_window) THEN
        RAISE EXCEPTION 'staging set % belongs to % %, not to % %', p_set, taken.dataset, taken.window_range, p_dataset, p_window
            USING ERRCODE = 'HW003';
    END IF;
    IF taken.finished_at IS NULL OR clean_table IS NULL OR rejected_table IS NULL THEN
        RAISE EXCEPTION 'staging set % of % % is not finished: clean it first', p_set, p_dataset, p_window
            USING ERRCODE = 'HW003';
    END IF;
    PERFORM ops.lock_tables(ARRAY[ops.set_table(p_set, 'raw'), clean_table, rejected_table]);
    EXECUTE format('REVOKE ALL ON %s FROM loader, analyst', clean_table);
    PERFORM ops.assert_own_table(clean_table);
END;
$$;

-- Drops the remaining tables of a set.
CREATE OR REPLACE FUNCTION ops.drop_set(p_set text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part text;
BEGIN
    FOREACH part IN ARRAY '{raw,clean,rejected,copies,compared,together}'::text[] LOOP
        EXECUTE format('DROP TABLE IF EXISTS staging.%I', p_set || '_' || part);
    END LOOP;
    DELETE FROM ops.staging_sets AS s WHERE s.set_name = p_set;
END;
$$;

-- Drops the sets of earlier attempts at a window (all windows of a dataset that is loaded by its changes); returns
-- their number. Drops none while another run is at work there. With p_before, only sets older than that one.
CREATE OR REPLACE FUNCTION ops.drop_obsolete_sets(
    p_dataset text, p_window tstzrange, p_dag_id text, p_run_id text, p_before text DEFAULT NULL
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
    of_changes CONSTANT boolean := (SELECT d.grid = 'watermark' FROM control.datasets AS d WHERE d.dataset = p_dataset);
    obsolete text;
    dropped integer := 0;
BEGIN
    IF EXISTS (
        SELECT FROM (
            SELECT DISTINCT ON (a.dag_id, a.run_id) a.stage, a.state, a.started_at
            FROM ops.attempts AS a
            WHERE
                a.dataset = p_dataset AND (of_changes OR a.window_range = p_window)
                AND (a.dag_id <> p_dag_id OR a.run_id <> p_run_id)
            ORDER BY a.dag_id, a.run_id, a.attempt_id DESC
        ) AS newest
        WHERE CASE
            -- A run that began a set within the last hour and has not finished.
            WHEN of_changes THEN
                newest.stage IN ('identify_changes', 'process_changes', 'update_checkpoint')
                AND newest.state IN ('running', 'retrying', 'succeeded')
                AND newest.started_at > ops.clock() - '1 hour'::interval
            -- A run that is running, will be retried or waits for its next stage; one that stopped a day ago will not
            -- continue.
            ELSE
                (newest.state IN ('running', 'retrying') OR (newest.state = 'succeeded' AND newest.stage <> 'summarise'))
                AND newest.started_at > ops.clock() - '1 day'::interval
        END
    ) THEN
        RETURN 0;
    END IF;
    -- An orphaned process of the same run is still at work.
    IF NOT of_changes AND EXISTS (
        SELECT FROM ops.attempts AS a INNER JOIN ops.live_attempts USING (attempt_id)
        WHERE
            a.dataset = p_dataset AND a.window_range = p_window AND a.dag_id = p_dag_id AND a.run_id = p_run_id
            AND a.stage NOT IN ('summarise', 'extract')
    ) THEN
        RETURN 0;
    END IF;
    FOR obsolete IN
        SELECT s.set_name FROM ops.staging_sets AS s
        WHERE
            s.dataset = p_dataset AND (of_changes OR s.window_range = p_window)
            -- A late older try must not drop the sets of a newer try of its run.
            AND (p_before IS NULL OR s.set_id < (SELECT b.set_id FROM ops.staging_sets AS b WHERE b.set_name = p_before))
        ORDER BY s.set_id
        FOR UPDATE SKIP LOCKED
    LOOP
        BEGIN
            PERFORM ops.drop_set(obsolete);
            dropped := dropped + 1;
        EXCEPTION WHEN lock_not_available THEN
            RAISE NOTICE 'staging set % is being read: it is dropped next time', obsolete;
        END;
    END LOOP;
    RETURN dropped;
END;
$$;

REVOKE EXECUTE ON FUNCTION
ops.close_table, ops.lock_set, ops.new_set, ops.new_set_table, ops.cleaned_shape, ops.begin_cleaning,
ops.empty_clean_table, ops.finish_cleaning,
ops.lock_staging_set, ops.drop_set, ops.drop_obsolete_sets
FROM public;
GRANT EXECUTE ON FUNCTION
ops.new_set, ops.new_set_table, ops.cleaned_shape, ops.begin_cleaning, ops.empty_clean_table, ops.finish_cleaning,
ops.drop_obsolete_sets
TO loader;
GRANT SELECT ON ops.staging_sets TO loader, analyst;
