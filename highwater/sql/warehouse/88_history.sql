-- Records a change of a row in the history. The trigger's arguments are the kind of change and, where it is not the
-- dataset, the key column. Rows that bootstrap inserts are part of Highwater and are not recorded.
CREATE OR REPLACE FUNCTION control.record_rule() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- A full run that was requested clears full_run_wanted: the checkpoint records that, it is no change of a rule.
    aside constant text[] := '{dataset,policies_applied_at}'
    || CASE WHEN session_user = 'loader' THEN '{full_run_wanted}'::text[] END;
    old_row jsonb := CASE WHEN tg_op <> 'INSERT' THEN to_jsonb(old) - aside END;
    new_row jsonb := CASE WHEN tg_op <> 'DELETE' THEN to_jsonb(new) - aside END;
    named text := coalesce(to_jsonb(new), to_jsonb(old)) ->> tg_argv[1];
BEGIN
    IF old_row IS NOT DISTINCT FROM new_row OR (tg_op = 'INSERT' AND session_user = 'publisher') THEN
        RETURN NULL;
    END IF;
    INSERT INTO control.catchup_policy_history (what, dataset, changed_at, changed_by, old, new)
    VALUES (
        tg_argv[0], coalesce(to_jsonb(new), to_jsonb(old)) ->> 'dataset', ops.clock(), control.who(),
        CASE WHEN named IS NULL OR old_row IS NULL THEN old_row ELSE jsonb_build_object(named, old_row - tg_argv[1]) END,
        CASE WHEN named IS NULL OR new_row IS NULL THEN new_row ELSE jsonb_build_object(named, new_row - tg_argv[1]) END
    );
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER source_rule_changes_are_kept AFTER INSERT OR UPDATE OR DELETE ON control.sources
FOR EACH ROW EXECUTE FUNCTION control.record_rule('source rule');
CREATE OR REPLACE TRIGGER known_source_changes_are_kept AFTER INSERT OR UPDATE OR DELETE ON control.known_sources
FOR EACH ROW EXECUTE FUNCTION control.record_rule('known source', 'source');
CREATE OR REPLACE TRIGGER dataset_changes_are_kept AFTER INSERT OR UPDATE OR DELETE ON control.datasets
FOR EACH ROW EXECUTE FUNCTION control.record_rule('dataset');
CREATE OR REPLACE TRIGGER platform_changes_are_kept AFTER UPDATE OR DELETE ON control.platform
FOR EACH ROW EXECUTE FUNCTION control.record_rule('platform');
CREATE OR REPLACE TRIGGER condition_rule_changes_are_kept AFTER UPDATE OR DELETE ON control.conditions
FOR EACH ROW EXECUTE FUNCTION control.record_rule('condition rule', 'condition');
CREATE OR REPLACE TRIGGER incident_kind_changes_are_kept AFTER UPDATE OR DELETE ON control.incident_kinds
FOR EACH ROW EXECUTE FUNCTION control.record_rule('incident kind', 'kind');

REVOKE EXECUTE ON FUNCTION control.record_rule FROM public;

-- The operator may change a policy, but neither its dataset nor the user recorded for the change.
REVOKE UPDATE ON control.catchup_policies FROM operator;
GRANT UPDATE (
    enabled, max_age, max_windows, skip_weekdays, skip_closed_days, conditions, reason
) ON control.catchup_policies TO operator;
