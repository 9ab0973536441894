-- Catch-up policies, one per dataset, and the closed days. Run as publisher; idempotent.
--
-- There are two kinds of rules. By max_age, max_windows, skip_weekdays and skip_closed_days a window is unwanted: it is
-- skipped by every kind of run. enabled and the conditions decide only whether missing windows are loaded automatically
-- now: without that, such a window stays missing. 17_policy_rules.sql evaluates both.

-- Gives every dataset a policy. By default every window is wanted.
CREATE OR REPLACE FUNCTION control.give_a_policy() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO control.catchup_policies (dataset) VALUES (NEW.dataset) ON CONFLICT (dataset) DO NOTHING;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER every_dataset_has_a_policy AFTER INSERT OR UPDATE ON control.datasets
FOR EACH ROW EXECUTE FUNCTION control.give_a_policy();

-- The user who makes a change: the login, and the person named by the setting highwater.by.
CREATE OR REPLACE FUNCTION control.who() RETURNS text
LANGUAGE sql STABLE
RETURN session_user || coalesce(' (' || nullif(current_setting('highwater.by', TRUE), '') || ')', '');

-- Refuses an unknown condition, and records the user and time of each change. If the statement gives no reason, it is
-- set to null: the reason of the previous change does not apply.
CREATE OR REPLACE FUNCTION control.check_policy() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    strange text;
BEGIN
    SELECT c INTO strange FROM unnest(NEW.conditions) AS c
    WHERE c NOT IN (SELECT k.condition FROM control.conditions AS k);
    IF strange IS NOT NULL THEN
        RAISE EXCEPTION 'unknown condition "%" in the policy of %: expected one of %', strange, NEW.dataset,
            (SELECT coalesce(string_agg(k.condition, ', ' ORDER BY k.condition), 'none') FROM control.conditions AS k)
            USING ERRCODE = 'HW010';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF to_jsonb(NEW) = to_jsonb(OLD) THEN
            RETURN NEW;
        END IF;
        IF NEW.reason IS NOT DISTINCT FROM OLD.reason THEN
            NEW.reason := NULL;
        END IF;
        NEW.changed_by := control.who();
        NEW.changed_at := ops.clock();
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE TRIGGER policy_is_sound BEFORE INSERT OR UPDATE ON control.catchup_policies
FOR EACH ROW EXECUTE FUNCTION control.check_policy();

-- Records every change of a policy or closed day in the history, including a plain UPDATE in psql.
CREATE OR REPLACE FUNCTION control.record_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    aside constant text[] := '{dataset,changed_by,changed_at,reason}';
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - aside END;
    new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - aside END;
    given text;
BEGIN
    IF old_row IS NOT DISTINCT FROM new_row THEN
        RETURN NULL;
    END IF;
    given := CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE to_jsonb(NEW) ->> 'reason' END;
    INSERT INTO control.catchup_policy_history (what, dataset, changed_at, changed_by, old, new, reason)
    VALUES (
        TG_ARGV[0], coalesce(to_jsonb(NEW), to_jsonb(OLD)) ->> 'dataset', ops.clock(), control.who(), old_row, new_row,
        given
    );
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER policy_changes_are_kept AFTER UPDATE OR DELETE ON control.catchup_policies
FOR EACH ROW EXECUTE FUNCTION control.record_change('policy');
CREATE OR REPLACE TRIGGER closed_day_changes_are_kept AFTER INSERT OR UPDATE OR DELETE ON control.closed_days
FOR EACH ROW EXECUTE FUNCTION control.record_change('closed day');

-- Records the answer of a condition, or its error. An answer takes effect once it has been the same for the settling
-- time, so that a flapping condition does not switch catch-up on and off. Returns whether this answer switched it.
CREATE OR REPLACE FUNCTION control.record_condition(
    p_condition text, p_dataset text, p_answer boolean, p_error text, OUT flipped boolean, OUT holds boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    moment CONSTANT timestamptz := ops.clock();
    known control.condition_states;
    settling interval;
BEGIN
    SELECT k.settle INTO STRICT settling FROM control.conditions AS k WHERE k.condition = p_condition;
    INSERT INTO control.condition_states (condition, dataset, holds, since)
    VALUES (p_condition, p_dataset, coalesce(p_answer, TRUE), moment)
    ON CONFLICT DO NOTHING;
    SELECT * INTO known FROM control.condition_states AS s
    WHERE s.condition = p_condition AND s.dataset = p_dataset FOR UPDATE;
    IF p_answer IS NOT NULL AND known.answered IS DISTINCT FROM p_answer THEN
        known.answered := p_answer;
        known.answered_since := moment;
    END IF;
    flipped := p_answer IS NOT NULL AND p_answer <> known.holds AND moment - known.answered_since >= settling;
    holds := CASE WHEN flipped THEN p_answer ELSE known.holds END;
    UPDATE control.condition_states AS s
    SET
        holds = record_condition.holds,
        since = CASE WHEN flipped THEN moment ELSE known.since END,
        answered = known.answered,
        answered_since = known.answered_since,
        checked_at = moment,
        error = p_error,
        error_since = CASE WHEN p_error IS NOT NULL THEN coalesce(known.error_since, moment) END
    WHERE s.condition = p_condition AND s.dataset = p_dataset;
    IF flipped THEN
        INSERT INTO control.catchup_policy_history (what, dataset, changed_at, changed_by, old, new)
        VALUES (
            'condition', p_dataset, moment, control.who(), jsonb_build_object(p_condition, known.holds),
            jsonb_build_object(p_condition, record_condition.holds)
        );
    END IF;
END;
$$;

-- Deletes the states of conditions that no policy names any more.
CREATE OR REPLACE FUNCTION control.forget_conditions() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM control.condition_states AS s
    WHERE NOT EXISTS (
        SELECT FROM control.catchup_policies AS p WHERE p.dataset = s.dataset AND s.condition = ANY(p.conditions)
    )
$$;

-- Returns the changes that were not announced yet and marks them as announced.
CREATE OR REPLACE FUNCTION control.announce_changes() RETURNS SETOF control.catchup_policy_history
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH announced AS (
        UPDATE control.catchup_policy_history AS h SET announced_at = ops.clock()
        WHERE h.announced_at IS NULL
        RETURNING h.*
    )
    SELECT * FROM announced ORDER BY change_id
$$;

REVOKE EXECUTE ON FUNCTION
control.give_a_policy, control.check_policy, control.record_change, control.record_condition, control.forget_conditions,
control.announce_changes
FROM public;
GRANT EXECUTE ON FUNCTION control.record_condition, control.forget_conditions, control.announce_changes TO loader;
GRANT SELECT ON
control.conditions, control.catchup_policies, control.closed_days, control.catchup_policy_history,
control.condition_states
TO loader, analyst;
GRANT INSERT, UPDATE, DELETE ON control.closed_days TO operator;
GRANT UPDATE (settle) ON control.conditions TO operator;
