-- Former versions of windows: set aside by the publishing functions when other content takes their place, kept for
-- control.platform.keep_versions_days, put back by ops.rollback_window. Run as publisher; again is harmless.
CREATE SCHEMA IF NOT EXISTS former;

COMMENT ON SCHEMA former IS 'Former versions of windows, a table each; ops.versions says which is which';

GRANT USAGE ON SCHEMA former TO analyst;

-- Here and not in 05_platform.sql: publishing reads control.datasets before control.platform, so locks come in that
-- order.
ALTER TABLE control.platform
ADD COLUMN IF NOT EXISTS keep_versions_days integer NOT NULL DEFAULT 7
CONSTRAINT keep_versions_days_is_not_negative CHECK (keep_versions_days >= 0);

COMMENT ON COLUMN control.platform.keep_versions_days IS
'For so long a version of a window is kept after other content replaced it; 0: it is not';

UPDATE control.platform
SET keep_versions_days = current_setting('highwater.keep_versions_days')::integer
WHERE keep_versions_days <> current_setting('highwater.keep_versions_days')::integer;

-- One row a version of a window that is kept though it is not published: its ledger row as it was, and its table.
CREATE TABLE IF NOT EXISTS ops.former_versions (
    former_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    version integer NOT NULL,
    rows_extracted bigint NOT NULL,
    rows_published bigint NOT NULL,
    rows_quarantined bigint NOT NULL,
    rows_deduplicated bigint NOT NULL,
    content_hash text NOT NULL,
    source_snapshot text,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    landed_at timestamptz NOT NULL,
    table_name text NOT NULL,
    state text NOT NULL CHECK (state IN ('kept', 'rolled back', 'forgotten')),
    replaced_at timestamptz NOT NULL
);

ALTER TABLE ops.former_versions
ADD COLUMN IF NOT EXISTS shape_id integer REFERENCES ops.shapes;

-- Versions that were kept before shapes were: in the shape of their table.
UPDATE ops.former_versions AS v
SET shape_id = ops.shape_of(ops.columns_of(to_regclass(format('former.%I', v.table_name))))
WHERE v.shape_id IS NULL AND to_regclass(format('former.%I', v.table_name)) IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS one_kept_version_of_a_number
ON ops.former_versions (dataset, window_range, version) WHERE state = 'kept';

COMMENT ON COLUMN ops.former_versions.state IS
'kept: it may be put back; rolled back: another was put in its place, so it is not offered again; forgotten: the '
'window was taken out of the ledger since, whose versions began anew';

-- One row per refused source row of a former version.
CREATE TABLE IF NOT EXISTS quarantine.former_rejected_rows (
    former_id bigint NOT NULL REFERENCES ops.former_versions ON DELETE CASCADE,
    reason text NOT NULL,
    source_row jsonb NOT NULL,
    run_id text NOT NULL,
    quarantined_at timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS former_rejected_rows_by_version ON quarantine.former_rejected_rows (former_id);

-- One row a rollback: who put which version in the place of which, and why.
CREATE TABLE IF NOT EXISTS ops.rollbacks (
    rollback_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    from_version integer NOT NULL,
    from_run_id text NOT NULL,
    from_content_hash text NOT NULL,
    to_version integer NOT NULL,
    to_run_id text NOT NULL,
    content_hash text NOT NULL,
    as_version integer NOT NULL,
    rolled_back_by text NOT NULL,
    login text NOT NULL DEFAULT session_user,
    reason text NOT NULL,
    rolled_back_at timestamptz NOT NULL DEFAULT ops.clock()
);

CREATE INDEX IF NOT EXISTS rollbacks_by_window ON ops.rollbacks (dataset, window_range);

COMMENT ON TABLE ops.rollbacks IS 'Who put which former version of a window back, and why';
COMMENT ON COLUMN ops.rollbacks.as_version IS 'The version in the ledger under which the former one stands again';

-- One row a version of a window that can be read: the published one and those that are kept, each with its table.
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
    'former.' || v.table_name AS held_in,
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

DROP FUNCTION IF EXISTS ops.keep_version(ops.window_ledger, text);
DROP FUNCTION IF EXISTS ops.version_table(ops.window_ledger, bigint);

-- Moves a table into schema former, with its indexes, under a name that no other has there.
CREATE OR REPLACE FUNCTION ops.move_to_former(p_table regclass, p_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
BEGIN
    -- A foreign key would keep rows of other tables from being deleted for the sake of a version that nobody reads.
    FOR part IN SELECT k.conname FROM pg_constraint AS k WHERE k.conrelid = p_table AND k.contype = 'f' LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', p_table, part.conname);
    END LOOP;
    -- Names of indexes are unique in a schema: two versions of a window may bring the same.
    FOR part IN
        SELECT i.indexrelid::regclass AS index, row_number() OVER (ORDER BY i.indexrelid) AS place
        FROM pg_index AS i WHERE i.indrelid = p_table
    LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', part.index, p_name || '_' || part.place);
    END LOOP;
    EXECUTE format('ALTER TABLE %s RENAME TO %I', p_table, p_name);
    EXECUTE format('ALTER TABLE %s SET SCHEMA former', p_table);
END;
$$;

-- Writes down a version that is about to be replaced, and moves its table and its quarantined rows to it.
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
    PERFORM ops.move_to_former(p_table, kept_as);
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

-- The window was taken out of the ledger by hand, and its versions begin anew: what was kept of it may not be put back
-- any more. What is being pruned just now is gone anyway, and not waited for.
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

-- Refuses a dataset whose windows have no versions.
CREATE OR REPLACE FUNCTION ops.assert_keeps_versions(p_dataset text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM control.datasets AS d WHERE d.dataset = p_dataset AND d.grid = 'watermark') THEN
        RAISE EXCEPTION '% is loaded by its changes and keeps no versions of windows; to read all of it anew: '
            'highwater checkpoint reset % --reason …', p_dataset, p_dataset USING ERRCODE = 'HW002';
    END IF;
END;
$$;

-- What a rollback of a window would do: the version that is published, and the one that would take its place, which is
-- the newest that is kept unless another is asked for. Refuses what cannot be rolled back.
CREATE OR REPLACE FUNCTION ops.rollback_target(
    p_dataset text,
    p_window tstzrange,
    p_to integer DEFAULT NULL,
    OUT wanted control.datasets,
    OUT present ops.window_ledger,
    OUT target ops.former_versions
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    earlier ops.rollbacks;
    kept text;
    days integer;
    held_in regclass;
    changed text;
BEGIN
    PERFORM ops.assert_keeps_versions(p_dataset);
    wanted := ops.dataset_with_window(p_dataset, p_window);
    SELECT * INTO present FROM ops.window_ledger AS l WHERE l.dataset = p_dataset AND l.window_range = p_window;
    IF NOT found THEN
        RAISE EXCEPTION '% % has not landed: there is nothing to roll back', p_dataset, p_window USING ERRCODE = 'HW008';
    END IF;

    SELECT
        string_agg(v.version || to_char(v.landed_at, '" (landed "YYYY-MM-DD HH24:MI")"'), ', ' ORDER BY v.version DESC)
    INTO kept
    FROM ops.former_versions AS v WHERE v.dataset = p_dataset AND v.window_range = p_window AND v.state = 'kept';
    SELECT * INTO earlier FROM ops.rollbacks AS r WHERE present.staged_as = 'rollback ' || r.rollback_id;
    IF found AND p_to IS NULL THEN
        RAISE EXCEPTION '% % is rolled back already, from version % to % by % at %: %', p_dataset, p_window,
            earlier.from_version, earlier.to_version, earlier.rolled_back_by,
            to_char(earlier.rolled_back_at, 'YYYY-MM-DD HH24:MI'),
            coalesce('to go further back name the version, one of ' || kept, 'no older version is kept; load it again')
            USING ERRCODE = 'HW008';
    END IF;
    IF kept IS NULL THEN
        SELECT keep_versions_days INTO days FROM control.platform;
        RAISE EXCEPTION '% % has version % and no former one that is kept (%): load it again', p_dataset, p_window,
            present.version, CASE days WHEN 0 THEN 'HIGHWATER_KEEP_VERSIONS_DAYS=0: none is'
                ELSE 'one is kept for ' || days || ' days after other content replaced it' END
            USING ERRCODE = 'HW008';
    END IF;
    SELECT * INTO target
    FROM ops.former_versions AS v
    WHERE v.dataset = p_dataset AND v.window_range = p_window AND v.state = 'kept' AND v.version = coalesce(p_to, v.version)
    ORDER BY v.version DESC LIMIT 1;
    IF NOT found THEN
        RAISE EXCEPTION '% % has no version % to put back%: version % is published, and kept are %', p_dataset, p_window,
            p_to,
            CASE WHEN EXISTS (
                SELECT FROM ops.former_versions AS v
                WHERE
                    v.dataset = p_dataset AND v.window_range = p_window AND v.version = p_to AND v.state = 'rolled back'
            ) THEN ', which was rolled back' ELSE '' END,
            present.version, kept USING ERRCODE = 'HW008';
    END IF;
    held_in := to_regclass(format('former.%I', target.table_name));
    IF held_in IS NULL THEN
        RAISE EXCEPTION '% % has lost its version %: former.% is not there: load it again', p_dataset, p_window,
            target.version, target.table_name USING ERRCODE = 'HW008';
    END IF;
    SELECT string_agg(c.attname, ', ' ORDER BY c.attname) INTO changed
    FROM (
        SELECT a.attname
        FROM pg_attribute AS a
        WHERE a.attrelid IN (held_in, wanted.published_table::regclass) AND a.attnum > 0 AND NOT a.attisdropped
        GROUP BY a.attname
        HAVING count(*) <> 2 OR count(DISTINCT format_type(a.atttypid, a.atttypmod)) <> 1
    ) AS c;
    IF changed IS NOT NULL THEN
        RAISE EXCEPTION '% %: version % does not fit % any more, whose columns changed since (%): load it again',
            p_dataset, p_window, target.version, wanted.published_table, changed USING ERRCODE = 'HW008';
    END IF;
END;
$$;

-- Puts a former version of a window back, with its quarantined rows, as a new version in the ledger: one transaction,
-- as publishing is. p_from is the version that the caller wants replaced, so that one that was published meanwhile is
-- not; p_to an older version than the last. The version that goes is set aside, and not offered again.
CREATE OR REPLACE FUNCTION ops.rollback_window(
    p_dataset text,
    p_window tstzrange,
    p_by text,
    p_reason text,
    p_from integer DEFAULT NULL,
    p_to integer DEFAULT NULL,
    OUT done ops.rollbacks
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s'
AS $$
DECLARE
    plan record;
    back ops.former_versions;
    incoming regclass;
    held record;
BEGIN
    IF trim(coalesce(p_by, '')) = '' OR trim(coalesce(p_reason, '')) = '' THEN
        RAISE EXCEPTION 'a rollback needs somebody who asks for it and a reason that others understand, but got "%" and "%"',
            coalesce(p_by, ''), coalesce(p_reason, '') USING ERRCODE = 'HW008';
    END IF;
    -- As ops.publish_window does: one at a time.
    PERFORM FROM control.datasets AS d WHERE d.dataset = p_dataset FOR NO KEY UPDATE;
    SELECT * INTO plan FROM ops.rollback_target(p_dataset, p_window, p_to);
    IF (plan.present).version <> p_from THEN
        RAISE EXCEPTION '% % is at version % by run %, not at version % that was to be rolled back: look again', p_dataset,
            p_window, (plan.present).version, (plan.present).run_id, p_from USING ERRCODE = 'HW006';
    END IF;
    back := plan.target;
    -- Somebody may be pruning it.
    PERFORM FROM ops.former_versions AS v WHERE v.former_id = back.former_id FOR UPDATE;
    incoming := to_regclass(format('former.%I', back.table_name));
    IF NOT found THEN
        RAISE EXCEPTION '% %: the days of version % have just ended, it is gone: load the window again', p_dataset, p_window,
            back.version USING ERRCODE = 'HW008';
    END IF;
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', incoming);
    EXECUTE format('REVOKE ALL ON %s FROM analyst', incoming);
    PERFORM ops.assert_own_table(incoming);
    SELECT c.row_count, c.content_hash INTO held
    FROM ops.shapes AS s CROSS JOIN LATERAL ops.table_content(incoming, s.hashed_columns) AS c
    WHERE s.shape_id = back.shape_id;
    IF (held.row_count, held.content_hash) IS DISTINCT FROM (back.rows_published, back.content_hash) THEN
        RAISE EXCEPTION '% %: former.% does not hold what was version % (% rows, not %, or others): load it again',
            p_dataset, p_window, back.table_name, back.version, coalesce(held.row_count, 0), back.rows_published
            USING ERRCODE = 'HW008';
    END IF;

    PERFORM ops.take_constraints(incoming, ((plan.wanted).published_table)::regclass);
    PERFORM ops.replace_partition(plan.wanted, p_window, incoming, plan.present, 'rolled back');
    INSERT INTO ops.rollbacks AS r (
        dataset, window_range, from_version, from_run_id, from_content_hash, to_version, to_run_id, content_hash,
        as_version, rolled_back_by, reason
    )
    VALUES (
        p_dataset, p_window, (plan.present).version, (plan.present).run_id, (plan.present).content_hash, back.version,
        back.run_id, back.content_hash, (plan.present).version + 1, trim(p_by), trim(p_reason)
    )
    RETURNING r.* INTO done;
    -- The snapshot stays that of the version that goes: whoever makes a window again when its source holds something
    -- else than it was made from must not make that version again of the same.
    UPDATE ops.window_ledger AS l
    SET
        version = done.as_version, rows_extracted = back.rows_extracted, rows_published = back.rows_published,
        rows_quarantined = back.rows_quarantined, rows_deduplicated = back.rows_deduplicated,
        content_hash = back.content_hash, shape_id = back.shape_id, staged_as = 'rollback ' || done.rollback_id, dag_id = 'rollback',
        run_id = 'rollback ' || done.rollback_id || ' by ' || done.rolled_back_by, landed_at = done.rolled_back_at
    WHERE l.dataset = p_dataset AND l.window_range = p_window;
    DELETE FROM quarantine.rejected_rows AS q WHERE q.dataset = p_dataset AND q.window_range = p_window;
    INSERT INTO quarantine.rejected_rows (dataset, window_range, reason, source_row, run_id, quarantined_at)
    SELECT p_dataset, p_window, f.reason, f.source_row, f.run_id, f.quarantined_at
    FROM quarantine.former_rejected_rows AS f WHERE f.former_id = back.former_id;
    DELETE FROM ops.former_versions AS v WHERE v.former_id = back.former_id;
END;
$$;

-- How many rows a rollback would take away and how many it would bring, copies counted; a row that changes does both.
CREATE OR REPLACE FUNCTION ops.rollback_difference(
    p_dataset text, p_window tstzrange, p_to integer DEFAULT NULL, OUT rows_going bigint, OUT rows_coming bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    plan CONSTANT record := ops.rollback_target(p_dataset, p_window, p_to);
    published CONSTANT regclass := ((plan.wanted).published_table)::regclass;
    standing CONSTANT text := coalesce(
        ops.partition_of(published, p_window)::text, format('(SELECT * FROM %s WHERE FALSE)', published)
    );
    held_in CONSTANT text := format('former.%I', (plan.target).table_name);
    -- As they are hashed: a json cannot be compared.
    compared CONSTANT text := ops.hashable_row(published, ops.columns_of(published));
BEGIN
    EXECUTE format(
        $query$
            WITH now_there AS (SELECT %1$s AS r FROM %2$s AS t), then_there AS (SELECT %1$s AS r FROM %3$s AS t)
            SELECT
                (SELECT count(*) FROM (SELECT r FROM now_there EXCEPT ALL SELECT r FROM then_there) AS going),
                (SELECT count(*) FROM (SELECT r FROM then_there EXCEPT ALL SELECT r FROM now_there) AS coming)
        $query$, compared, standing, held_in
    ) INTO rows_going, rows_coming;
END;
$$;

-- Drops former versions whose days are over, at most so many in one transaction; returns how many. One that somebody
-- reads or puts back stays for the next time, and a publishing function is not waited for: it holds none of them.
CREATE OR REPLACE FUNCTION ops.prune_versions(p_most integer DEFAULT 100) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
DECLARE
    expired record;
    dependants text;
    pruned integer := 0;
BEGIN
    FOR expired IN
        SELECT v.former_id, v.table_name
        FROM ops.former_versions AS v CROSS JOIN control.platform AS p
        WHERE v.state = 'forgotten' OR v.replaced_at + make_interval(days => p.keep_versions_days) <= ops.clock()
        ORDER BY v.former_id
        FOR UPDATE OF v SKIP LOCKED
    LOOP
        EXIT WHEN pruned >= p_most;
        BEGIN
            EXECUTE format('DROP TABLE IF EXISTS former.%I', expired.table_name);
            DELETE FROM ops.former_versions AS v WHERE v.former_id = expired.former_id;
            pruned := pruned + 1;
        EXCEPTION
            WHEN lock_not_available THEN
                RAISE NOTICE 'former.% is being read: it is dropped the next time', expired.table_name;
            WHEN dependent_objects_still_exist THEN
                GET STACKED DIAGNOSTICS dependants = PG_EXCEPTION_DETAIL;
                RAISE WARNING 'former.% is over but cannot be dropped: %', expired.table_name, dependants;
        END;
    END LOOP;
    RETURN pruned;
END;
$$;

REVOKE EXECUTE ON FUNCTION
ops.move_to_former, ops.keep_version, ops.forget_versions, ops.rollback_window, ops.rollback_difference, ops.prune_versions
FROM public;
GRANT EXECUTE ON FUNCTION ops.prune_versions TO loader;
GRANT EXECUTE ON FUNCTION ops.rollback_difference TO analyst;
GRANT EXECUTE ON FUNCTION ops.rollback_window TO operator;
GRANT SELECT ON ops.former_versions, ops.rollbacks, ops.versions, quarantine.former_rejected_rows TO loader, analyst;
