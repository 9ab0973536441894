-- How far a dataset that is loaded by its changes has come at the source. Run as publisher; again is harmless.

-- One row a dataset: how its source is read, and what happens when something is wrong with it.
CREATE TABLE IF NOT EXISTS control.sources (
    dataset text PRIMARY KEY REFERENCES control.datasets,
    strategy text NOT NULL DEFAULT 'xid',
    overlap interval NOT NULL DEFAULT '15 minutes',
    reconcile_every interval NOT NULL DEFAULT '24 hours',
    max_changes bigint NOT NULL DEFAULT 1000000,
    max_deleted_share numeric(4, 3) NOT NULL DEFAULT 0.500,
    on_replaced_source text NOT NULL DEFAULT 'full',
    on_changed_schema text NOT NULL DEFAULT 'full',
    on_large_change_set text NOT NULL DEFAULT 'stop',
    on_mass_delete text NOT NULL DEFAULT 'stop',
    keys_per_bucket integer NOT NULL DEFAULT 10000,
    buckets_per_check integer NOT NULL DEFAULT 2,
    full_run_wanted text,
    CONSTRAINT strategy_is_xid_or_updated_at CHECK (strategy IN ('xid', 'updated_at')),
    CONSTRAINT overlap_is_not_negative CHECK (extract(EPOCH FROM overlap) >= 0),
    CONSTRAINT reconcile_every_is_positive CHECK (extract(EPOCH FROM reconcile_every) > 0),
    CONSTRAINT max_changes_is_positive CHECK (max_changes > 0),
    CONSTRAINT max_deleted_share_is_a_share CHECK (max_deleted_share BETWEEN 0 AND 1),
    CONSTRAINT on_replaced_source_is_full_or_stop CHECK (on_replaced_source IN ('full', 'stop')),
    CONSTRAINT on_changed_schema_is_full_or_stop CHECK (on_changed_schema IN ('full', 'stop')),
    CONSTRAINT on_large_change_set_is_full_stop_or_accept CHECK (on_large_change_set IN ('full', 'stop', 'accept')),
    CONSTRAINT on_mass_delete_is_stop_or_accept CHECK (on_mass_delete IN ('stop', 'accept')),
    CONSTRAINT buckets_are_positive CHECK (keys_per_bucket > 0 AND buckets_per_check > 0)
);

COMMENT ON COLUMN control.sources.strategy IS
'xid: exact, by the transaction that changed a row; updated_at: by the time it says, which misses a transaction that '
'commits later than overlap and every deletion, until the next full run; windows: whole windows of a fixed grid';
COMMENT ON COLUMN control.sources.overlap IS 'updated_at only: read again what changed so long before the watermark';
COMMENT ON COLUMN control.sources.reconcile_every IS 'A full run when the last one is older';
COMMENT ON COLUMN control.sources.max_changes IS 'A larger change set falls under on_large_change_set';
COMMENT ON COLUMN control.sources.max_deleted_share IS
'A run that would delete a larger share of the live rows falls under on_mass_delete';
COMMENT ON COLUMN control.sources.buckets_per_check IS
'So many times keys_per_bucket rows of source and target each are compared by an incremental run, the next ones by the '
'next; a full run compares all, by as many hashes as it takes for so many keys each';
COMMENT ON COLUMN control.sources.full_run_wanted IS
'Who wants the next run to be a full one, and why; the run that is clears it';

-- One row a dataset, moved by the functions below and by ops.merge_changes alone, in the transaction of the data.
CREATE TABLE IF NOT EXISTS ops.checkpoints (
    dataset text PRIMARY KEY REFERENCES control.sources,
    revision integer NOT NULL DEFAULT 1,
    watermark timestamptz,
    source_snapshot pg_snapshot,
    source_identity jsonb,
    live_rows bigint NOT NULL,
    mode text NOT NULL CHECK (mode IN ('full', 'incremental', 'reset')),
    reason text NOT NULL CHECK (reason <> ''),
    rows_inserted bigint NOT NULL DEFAULT 0,
    rows_updated bigint NOT NULL DEFAULT 0,
    rows_deleted bigint NOT NULL DEFAULT 0,
    last_full_at timestamptz,
    dag_id text,
    run_id text,
    updated_by text NOT NULL CHECK (updated_by <> ''),
    updated_at timestamptz NOT NULL,
    CONSTRAINT points_somewhere_unless_reset CHECK (
        num_nulls(watermark, source_snapshot, source_identity) = CASE mode WHEN 'reset' THEN 3 ELSE 0 END
    )
);

COMMENT ON COLUMN ops.checkpoints.source_snapshot IS 'What the source showed: the next run takes what this did not see';
COMMENT ON COLUMN ops.checkpoints.revision IS 'Grows by one with every change, whoever makes it';

-- What the whole published table held as of the checkpoint; null where that is not known yet.
ALTER TABLE ops.checkpoints
ADD COLUMN IF NOT EXISTS published_rows bigint,
ADD COLUMN IF NOT EXISTS hash_sums numeric[],
ADD COLUMN IF NOT EXISTS hashed_columns text[],
DROP CONSTRAINT IF EXISTS content_is_known_whole,
ADD CONSTRAINT content_is_known_whole CHECK (
    num_nulls(published_rows, hash_sums, hashed_columns) IN (0, 3) AND coalesce(cardinality(hash_sums), 2) = 2
);

COMMENT ON COLUMN ops.checkpoints.published_rows IS 'Of the published table, with those that are gone at the source';
COMMENT ON COLUMN ops.checkpoints.hash_sums IS 'Sums of the hashes of its rows by two seeds, as in ops.table_content';
COMMENT ON COLUMN ops.checkpoints.hashed_columns IS
'The columns they are of: all that it had when it was last hashed whole';

-- Every state a checkpoint was ever in, with the login that made it: nobody moves one unseen.
CREATE TABLE IF NOT EXISTS ops.checkpoint_history (
    dataset text NOT NULL,
    revision integer NOT NULL,
    change text NOT NULL,
    state jsonb NOT NULL,
    login text NOT NULL DEFAULT session_user,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX IF NOT EXISTS checkpoint_history_of_dataset ON ops.checkpoint_history (dataset, recorded_at);

CREATE OR REPLACE FUNCTION ops.next_revision() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    new.revision := old.revision + 1;
    RETURN new;
END;
$$;

CREATE OR REPLACE FUNCTION ops.record_checkpoint() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO ops.checkpoint_history (dataset, revision, change, state)
    SELECT c.dataset, c.revision, lower(tg_op), to_jsonb(c) FROM (SELECT (coalesce(new, old)).*) AS c;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER next_revision BEFORE UPDATE ON ops.checkpoints
FOR EACH ROW EXECUTE FUNCTION ops.next_revision();

CREATE OR REPLACE TRIGGER record_checkpoint AFTER INSERT OR UPDATE OR DELETE ON ops.checkpoints
FOR EACH ROW EXECUTE FUNCTION ops.record_checkpoint();

-- Keys whose state at the source was refused when it was last seen: there the published row is an older one, or none.
CREATE TABLE IF NOT EXISTS quarantine.refused_keys (
    dataset text NOT NULL REFERENCES control.datasets,
    key text NOT NULL,
    reason text NOT NULL,
    window_range tstzrange NOT NULL,
    PRIMARY KEY (dataset, key)
);

COMMENT ON COLUMN quarantine.refused_keys.key IS
'The values of the key as a JSON array of strings: ["17"], ["a,b", "2"]';

-- Keys were once joined by commas; no key had more than one column then. The constraint says that it is done.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'quarantine.refused_keys'::regclass AND conname = 'key_is_an_array'
    ) THEN
        UPDATE quarantine.refused_keys SET key = jsonb_build_array(key)::text;
        ALTER TABLE quarantine.refused_keys ADD CONSTRAINT key_is_an_array CHECK (jsonb_typeof(key::jsonb) = 'array');
    END IF;
END;
$$;

-- One row a comparison of source and target.
CREATE TABLE IF NOT EXISTS ops.consistency_checks (
    check_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    revision integer NOT NULL,
    dag_id text,
    run_id text,
    source_snapshot text NOT NULL,
    rows_compared bigint NOT NULL,
    differing_keys text[] NOT NULL,
    refused_keys integer NOT NULL,
    pending_changes bigint NOT NULL,
    oldest_pending timestamptz,
    newest_pending timestamptz,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX IF NOT EXISTS consistency_checks_of_dataset ON ops.consistency_checks (dataset, check_id);

ALTER TABLE ops.consistency_checks
DROP COLUMN IF EXISTS buckets_compared,
DROP COLUMN IF EXISTS next_bucket,
DROP COLUMN IF EXISTS differing_buckets,
ADD COLUMN IF NOT EXISTS next_after_source text,
ADD COLUMN IF NOT EXISTS next_after_target text;

DO $$
BEGIN
    PERFORM control.add_rule_of_records(
        'ops.consistency_checks', 'moments_are_usual',
        'control.is_usual_moment(oldest_pending) AND control.is_usual_moment(newest_pending)'
    );
    PERFORM control.add_rule_of_records(
        'ops.consistency_checks', 'names_are_short',
        'control.are_names(dag_id, run_id)'
    );
    PERFORM control.add_rule_of_records(
        'ops.consistency_checks', 'counts_are_usual',
        'control.are_counts(revision, rows_compared, refused_keys, pending_changes)'
    );
    PERFORM control.add_rule_of_records(
        'ops.consistency_checks', 'keys_are_keys',
        'array_position(differing_keys, NULL) IS NULL AND coalesce(array_ndims(differing_keys), 1) = 1'
    );
END;
$$;

COMMENT ON COLUMN ops.consistency_checks.next_after_source IS
'The key at the source, as in quarantine.refused_keys, that the next comparison goes on behind; null: from the start';
COMMENT ON COLUMN ops.consistency_checks.next_after_target IS 'The same of the published table';
COMMENT ON COLUMN ops.consistency_checks.revision IS 'Of the checkpoint at whose snapshot was compared';
COMMENT ON COLUMN ops.consistency_checks.oldest_pending IS 'By the clock of the warehouse, as newest_pending';
COMMENT ON COLUMN ops.consistency_checks.differing_keys IS
'Not counting those that are in quarantine; the first 100. A key of several columns is a JSON array';

-- Refuses a dataset that has no checkpoint to reset. Who is only asked whether to is refused as who does it.
CREATE OR REPLACE FUNCTION ops.assert_resettable(p_dataset text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ops.checkpoints AS c WHERE c.dataset = p_dataset) THEN
        RAISE EXCEPTION 'dataset "%" has no checkpoint to reset: its next run reads everything anyway', p_dataset
            USING ERRCODE = 'HW001';
    END IF;
END;
$$;

-- Forget how far a dataset has come, so that the next run is a full one; published data and ledger stay.
CREATE OR REPLACE FUNCTION ops.reset_checkpoint(p_dataset text, p_by text, p_reason text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    new_revision integer;
BEGIN
    p_by := control.words('by', p_by, 'HW001');
    p_reason := control.words('reason', p_reason, 'HW001');
    PERFORM ops.assert_resettable(p_dataset);
    UPDATE ops.checkpoints AS c
    SET
        watermark = NULL, source_snapshot = NULL, source_identity = NULL, mode = 'reset', reason = p_reason,
        dag_id = NULL, run_id = NULL, updated_by = p_by, updated_at = ops.clock()
    WHERE c.dataset = p_dataset
    RETURNING c.revision INTO new_revision;
    RETURN new_revision;
END;
$$;

-- One row a dataset with a source: its checkpoint, what the next run starts from, and what its strategy promises.
CREATE OR REPLACE VIEW ops.checkpoint_status AS
SELECT
    s.dataset,
    s.strategy,
    CASE s.strategy
        WHEN 'xid' THEN 'no committed change is missed'
        ELSE
            'deletions, and changes that commit more than ' || s.overlap
            || ' after they say, are missed until the next full run'
    END AS promise,
    c.revision,
    c.watermark,
    c.source_snapshot::text AS source_snapshot,
    c.mode,
    c.reason,
    c.rows_inserted,
    c.rows_updated,
    c.rows_deleted,
    c.live_rows,
    c.last_full_at,
    c.run_id,
    c.updated_by,
    c.updated_at,
    s.full_run_wanted,
    checked.checked_at,
    checked.differing_keys,
    checked.oldest_pending
FROM control.sources AS s
LEFT JOIN ops.checkpoints AS c USING (dataset)
LEFT JOIN LATERAL (
    SELECT
        k.checked_at,
        k.differing_keys,
        k.oldest_pending
    FROM ops.consistency_checks AS k
    WHERE k.dataset = s.dataset AND k.revision = c.revision
    ORDER BY k.check_id DESC
    LIMIT 1
) AS checked ON TRUE
WHERE s.strategy <> 'windows';

-- What a run by watermark did, beside what it cost.
ALTER TABLE ops.processing_summary
ADD COLUMN IF NOT EXISTS mode text,
ADD COLUMN IF NOT EXISTS mode_reason text,
ADD COLUMN IF NOT EXISTS rows_inserted bigint,
ADD COLUMN IF NOT EXISTS rows_updated bigint,
ADD COLUMN IF NOT EXISTS rows_deleted bigint,
ADD COLUMN IF NOT EXISTS changes_by_hour jsonb;

DO $$
BEGIN
    PERFORM control.add_rule_of_records(
        'ops.processing_summary', 'changes_are_counted', 'control.are_counts(rows_inserted, rows_updated, rows_deleted)'
    );
    PERFORM control.add_rule_of_records('ops.processing_summary', 'names_are_short', 'control.are_names(mode)');
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.reset_checkpoint, ops.record_checkpoint, ops.next_revision FROM public;
-- It says who wants it and why: that is for a person to say.
REVOKE EXECUTE ON FUNCTION ops.reset_checkpoint FROM loader;
GRANT EXECUTE ON FUNCTION ops.reset_checkpoint TO operator;
GRANT SELECT ON
control.sources, ops.checkpoints, ops.checkpoint_history, ops.checkpoint_status, ops.consistency_checks,
quarantine.refused_keys
TO loader, analyst;
REVOKE INSERT ON ops.consistency_checks FROM loader;
