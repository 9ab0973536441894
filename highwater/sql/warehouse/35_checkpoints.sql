-- Checkpoints: how far a dataset that is loaded by its changes has come at the source. Run as publisher; idempotent.

-- Counts the revisions of a checkpoint.
CREATE OR REPLACE FUNCTION ops.next_revision() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    new.revision := old.revision + 1;
    RETURN new;
END;
$$;

-- Records every state of a checkpoint in its history.
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

-- Refuses a dataset that has no checkpoint to reset; also asked before a person is prompted for confirmation.
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

-- Forgets how far a dataset has come, so that the next run is a full one; published data and ledger are kept.
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

-- One row per dataset that is loaded by its changes: its checkpoint, where the next run starts, and what its strategy
-- guarantees.
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

REVOKE EXECUTE ON FUNCTION ops.reset_checkpoint, ops.record_checkpoint, ops.next_revision FROM public;
-- A reset names a person and a reason, so only an operator may do it.
REVOKE EXECUTE ON FUNCTION ops.reset_checkpoint FROM loader;
GRANT EXECUTE ON FUNCTION ops.reset_checkpoint TO operator;
GRANT SELECT ON
control.sources, ops.checkpoints, ops.checkpoint_history, ops.checkpoint_status, ops.consistency_checks,
quarantine.refused_keys
TO loader, analyst;
REVOKE INSERT ON ops.consistency_checks FROM loader;
