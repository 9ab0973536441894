-- Former versions of windows: archived by the publishing functions when other content replaces them, kept for
-- control.platform.keep_versions_days, restored by ops.rollback_window. Run as publisher; idempotent.

GRANT USAGE ON SCHEMA archive TO analyst;

-- One row per readable version of a window: the published one and those that are kept, each with its table.
CREATE OR REPLACE VIEW ops.versions AS
SELECT
    l.dataset,
    l.window_range,
    l.version,
    'published' AS state,
    d.published_table AS held_in,
    l.rows_published,
    l.rows_quarantined,
    l.content_hash,
    l.dag_id,
    l.run_id,
    l.landed_at,
    NULL::timestamptz AS replaced_at,
    NULL::timestamptz AS kept_until
FROM ops.window_ledger AS l
INNER JOIN control.datasets AS d ON l.dataset = d.dataset AND d.grid = 'fixed'
UNION ALL
SELECT
    v.dataset,
    v.window_range,
    v.version,
    v.state,
    'archive.' || v.table_name AS held_in,
    v.rows_published,
    v.rows_quarantined,
    v.content_hash,
    v.dag_id,
    v.run_id,
    v.landed_at,
    v.replaced_at,
    v.replaced_at + make_interval(days => p.keep_versions_days) AS kept_until
FROM ops.former_versions AS v
CROSS JOIN control.platform AS p;

-- Moves a table into schema archive, with its indexes, under a unique name.
CREATE OR REPLACE FUNCTION ops.move_to_archive(p_table regclass, p_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
BEGIN
    -- A foreign key of an archived version would keep rows of other tables from being deleted.
    FOR part IN SELECT k.conname FROM pg_constraint AS k WHERE k.conrelid = p_table AND k.contype = 'f' LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', p_table, part.conname);
    END LOOP;
    -- Names of indexes are unique in a schema, and two versions of a window may have the same.
    FOR part IN
        SELECT i.indexrelid::regclass AS index, row_number() OVER (ORDER BY i.indexrelid) AS place
        FROM pg_index AS i WHERE i.indrelid = p_table
    LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', part.index, p_name || '_' || part.place);
    END LOOP;
    EXECUTE format('ALTER TABLE %s RENAME TO %I', p_table, p_name);
    EXECUTE format('ALTER TABLE %s SET SCHEMA archive', p_table);
END;
$$;

-- Records a version that is about to be replaced, and archives its table and its quarantined rows.
CREATE OR REPLACE FUNCTION ops.keep_version(p_version ops.window_ledger, p_table regclass, p_state text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept CONSTANT bigint := nextval(pg_get_serial_sequence('ops.former_versions', 'former_id'));
    kept_as CONSTANT text := 'version_' || kept;
BEGIN
    INSERT INTO ops.former_versions (
        former_id, dataset, window_range, version, rows_extracted, rows_published, rows_quarantined, rows_deduplicated,
        content_hash, shape_id, source_snapshot, dag_id, run_id, landed_at, table_name, state, replaced_at
    )
    OVERRIDING SYSTEM VALUE
    VALUES (
        kept, p_version.dataset, p_version.window_range, p_version.version, p_version.rows_extracted,
        p_version.rows_published, p_version.rows_quarantined, p_version.rows_deduplicated, p_version.content_hash,
        p_version.shape_id, p_version.source_snapshot, p_version.dag_id, p_version.run_id, p_version.landed_at,
        kept_as, p_state, ops.clock()
    );
    PERFORM ops.move_to_archive(p_table, kept_as);
    -- Rights that were granted on the partition by its name end here.
    EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, loader, operator, analyst', p_table);
    PERFORM ops.let_analyst_read(p_table, p_version.dataset);
    WITH moved AS (
        DELETE FROM quarantine.rejected_rows AS q
        WHERE q.dataset = p_version.dataset AND q.window_range = p_version.window_range
        RETURNING q.*
    )
    INSERT INTO quarantine.former_rejected_rows (former_id, reason, source_row, run_id, quarantined_at)
    SELECT kept, m.reason, m.source_row, m.run_id, m.quarantined_at FROM moved AS m;
END;
$$;

-- Forgets the kept versions of a window that was deleted from the ledger by hand: its versions start from 1 again, and
-- the old ones may no longer be restored. Those that are being pruned now are skipped.
CREATE OR REPLACE FUNCTION ops.forget_versions(p_dataset text, p_window tstzrange) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    WITH kept AS (
        SELECT v.former_id FROM ops.former_versions AS v
        WHERE v.dataset = p_dataset AND v.window_range = p_window AND v.state = 'kept'
        FOR UPDATE SKIP LOCKED
    )
    UPDATE ops.former_versions AS v SET state = 'forgotten' FROM kept AS k WHERE v.former_id = k.former_id
$$;

-- Drops expired former versions, at most p_most in one transaction; returns their number. One that is being read or
-- restored is left for the next time.
CREATE OR REPLACE FUNCTION ops.prune_versions(p_most integer DEFAULT 100) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
DECLARE
    expired record;
    dependants text;
    pruned integer := 0;
BEGIN
    PERFORM ops.withdraw_reading();
    FOR expired IN
        SELECT v.former_id, v.table_name
        FROM ops.former_versions AS v CROSS JOIN control.platform AS p
        WHERE v.state = 'forgotten' OR v.replaced_at + make_interval(days => p.keep_versions_days) <= ops.clock()
        ORDER BY v.former_id
        FOR UPDATE OF v SKIP LOCKED
    LOOP
        EXIT WHEN pruned >= p_most;
        BEGIN
            EXECUTE format('DROP TABLE IF EXISTS archive.%I', expired.table_name);
            DELETE FROM ops.former_versions AS v WHERE v.former_id = expired.former_id;
            pruned := pruned + 1;
        EXCEPTION
            WHEN lock_not_available THEN
                RAISE NOTICE 'archive.% is being read: it is dropped next time', expired.table_name;
            WHEN dependent_objects_still_exist THEN
                GET STACKED DIAGNOSTICS dependants = PG_EXCEPTION_DETAIL;
                RAISE WARNING 'archive.% has expired but cannot be dropped: %', expired.table_name, dependants;
        END;
    END LOOP;
    RETURN pruned;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.move_to_archive, ops.keep_version, ops.forget_versions, ops.prune_versions FROM public;
GRANT EXECUTE ON FUNCTION ops.prune_versions TO loader;
GRANT SELECT ON ops.former_versions, ops.rollbacks, ops.versions, quarantine.former_rejected_rows TO loader, analyst;
