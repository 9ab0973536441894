-- Rollback of a window to a former version. Run as publisher; idempotent.

-- Refuses a dataset whose windows have no versions.
CREATE OR REPLACE FUNCTION ops.assert_keeps_versions(p_dataset text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM control.datasets AS d WHERE d.dataset = p_dataset AND d.grid = 'watermark') THEN
        RAISE EXCEPTION '% is loaded by its changes and keeps no versions of windows; to read all of it again: '
            'scripts/highwater checkpoint reset % --reason …', p_dataset, p_dataset USING ERRCODE = 'HW002';
    END IF;
END;
$$;

-- What a rollback of a window would do: the published version and the one that would replace it, by default the newest
-- that is kept. Refuses a window that cannot be rolled back; ops.assert_fits checks that the version still fits.
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
        RAISE EXCEPTION '% % has version % and no former version (%): load it again', p_dataset, p_window,
            present.version, CASE days WHEN 0 THEN 'HIGHWATER_KEEP_VERSIONS_DAYS=0 keeps none'
                ELSE 'a version is kept for ' || days || ' days after other content replaced it' END
            USING ERRCODE = 'HW008';
    END IF;
    SELECT * INTO target
    FROM ops.former_versions AS v
    WHERE v.dataset = p_dataset AND v.window_range = p_window AND v.state = 'kept' AND v.version = coalesce(p_to, v.version)
    ORDER BY v.version DESC LIMIT 1;
    IF NOT found THEN
        RAISE EXCEPTION '% % has no version % to restore%: version % is published, and kept are %', p_dataset, p_window,
            p_to,
            CASE WHEN EXISTS (
                SELECT FROM ops.former_versions AS v
                WHERE
                    v.dataset = p_dataset AND v.window_range = p_window AND v.version = p_to AND v.state = 'rolled back'
            ) THEN ', which was rolled back' ELSE '' END,
            present.version, kept USING ERRCODE = 'HW008';
    END IF;
    IF to_regclass(format('archive.%I', target.table_name)) IS NULL THEN
        RAISE EXCEPTION '% % has lost its version %: table archive.% does not exist: load it again', p_dataset, p_window,
            target.version, target.table_name USING ERRCODE = 'HW008';
    END IF;
END;
$$;

-- Restores a former version of a window, with its quarantined rows, as a new version in the ledger, in one transaction.
-- p_from is the version to replace, so that one published meanwhile is not; p_to the version to restore, by default the
-- newest that is kept. The replaced version is archived and not offered again.
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
BEGIN
    p_by := control.words('by', p_by, 'HW008');
    p_reason := control.words('reason', p_reason, 'HW008');
    PERFORM ops.assert_read_committed();
    PERFORM ops.hold_dataset(p_dataset);
    SELECT * INTO plan FROM ops.rollback_target(p_dataset, p_window, p_to);
    IF (plan.present).version <> p_from THEN
        RAISE EXCEPTION '% % is at version % by run %, not at version % that was to be rolled back: check it again', p_dataset,
            p_window, (plan.present).version, (plan.present).run_id, p_from USING ERRCODE = 'HW006';
    END IF;
    back := plan.target;
    -- Another session may be pruning it.
    PERFORM FROM ops.former_versions AS v WHERE v.former_id = back.former_id FOR UPDATE;
    incoming := to_regclass(format('archive.%I', back.table_name));
    IF NOT found THEN
        RAISE EXCEPTION '% %: version % has just expired and was dropped: load the window again', p_dataset, p_window,
            back.version USING ERRCODE = 'HW008';
    END IF;
    PERFORM ops.lock_tables(ARRAY[incoming]);
    PERFORM ops.assert_fits(plan.wanted, back);
    EXECUTE format('REVOKE ALL ON %s FROM analyst', incoming);
    PERFORM ops.make_fit(incoming, ((plan.wanted).published_table)::regclass);
    PERFORM ops.replace_partition(plan.wanted, p_window, incoming, plan.present, 'rolled back');
    INSERT INTO ops.rollbacks AS r (
        dataset, window_range, from_version, from_run_id, from_content_hash, to_version, to_run_id, content_hash,
        as_version, rolled_back_by, reason
    )
    VALUES (
        p_dataset, p_window, (plan.present).version, (plan.present).run_id, (plan.present).content_hash, back.version,
        back.run_id, back.content_hash, (plan.present).version + 1, p_by, p_reason
    )
    RETURNING r.* INTO done;
    -- The snapshot stays that of the replaced version: a dataset whose windows are loaded again when their source changed
    -- must not load that version again from the same source.
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
    PERFORM ops.hold_window(done.rollback_id);
END;
$$;

-- How many rows a rollback would remove and how many it would add, duplicates counted; a changed row counts as both.
-- Refuses what ops.rollback_window would refuse, with the same error.
CREATE OR REPLACE FUNCTION ops.rollback_difference(
    p_dataset text, p_window tstzrange, p_to integer DEFAULT NULL, OUT rows_going bigint, OUT rows_coming bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    plan CONSTANT record := ops.rollback_target(p_dataset, p_window, p_to);
    published CONSTANT regclass := ((plan.wanted).published_table)::regclass;
    present CONSTANT text := coalesce(
        ops.partition_of(published, p_window)::text, format('(SELECT * FROM %s WHERE FALSE)', published)
    );
    held_in CONSTANT regclass := to_regclass(format('archive.%I', (plan.target).table_name));
    -- As text, as they are hashed: json has no equality.
    compared CONSTANT text := ops.row_of(ops.columns_of(published)) || '::text';
BEGIN
    PERFORM ops.assert_fits(plan.wanted, plan.target);
    EXECUTE format(
        $query$
            WITH now_there AS (SELECT %1$s AS r FROM %2$s AS t), then_there AS (SELECT %1$s AS r FROM %3$s AS t)
            SELECT
                (SELECT count(*) FROM (SELECT r FROM now_there EXCEPT ALL SELECT r FROM then_there) AS going),
                (SELECT count(*) FROM (SELECT r FROM then_there EXCEPT ALL SELECT r FROM now_there) AS coming)
        $query$, compared, present, ops.rows_as_published(held_in, published)
    ) INTO rows_going, rows_coming;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.rollback_window, ops.rollback_difference FROM public;
GRANT EXECUTE ON FUNCTION ops.rollback_difference TO analyst;
GRANT EXECUTE ON FUNCTION ops.rollback_window TO operator;
