-- Skips: windows that a rule says not to load. Run as publisher; idempotent.

-- Records that a rule says not to load a due window; null if it has landed, which does not change.
CREATE OR REPLACE FUNCTION ops.skip_window(
    p_dataset text, p_window tstzrange, p_rule text, p_reason text, p_dag_id text, p_run_id text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    wanted control.datasets;
    landed tstzrange;
BEGIN
    IF coalesce(p_rule, '') !~ '\S' OR coalesce(p_reason, '') !~ '\S' OR greatest(length(p_rule), length(p_reason)) > 1000 THEN
        RAISE EXCEPTION 'a skip of % needs a rule and a reason of 1 to 1000 characters, but got "%" and "%"', p_dataset,
            left(coalesce(p_rule, ''), 100), left(coalesce(p_reason, ''), 100) USING ERRCODE = 'HW008';
    END IF;
    -- Publishing locks this row, so that a window cannot land between the check and the insert.
    PERFORM FROM control.datasets AS d WHERE d.dataset = p_dataset FOR SHARE;
    wanted := ops.dataset_with_window(p_dataset, p_window);
    IF upper(p_window) > control.due_until(wanted, ops.clock()) THEN
        RAISE EXCEPTION '% % cannot be skipped: it is due at %, and it is % in the warehouse', p_dataset, p_window,
            upper(p_window) + wanted.due_after, ops.clock() USING ERRCODE = 'HW002';
    END IF;
    SELECT l.window_range INTO landed FROM ops.window_ledger AS l
    WHERE l.dataset = p_dataset AND l.window_range && p_window
    ORDER BY l.window_range
    LIMIT 1;
    IF landed = p_window THEN
        RETURN NULL;
    ELSIF landed IS NOT NULL THEN
        RAISE EXCEPTION '% % cannot be skipped: % has landed and overlaps it', p_dataset, p_window, landed
            USING ERRCODE = 'HW008';
    END IF;
    INSERT INTO ops.skipped_windows (dataset, window_range, rule, reason, dag_id, run_id)
    VALUES (p_dataset, p_window, p_rule, control.cut(p_reason), p_dag_id, p_run_id)
    ON CONFLICT (dataset, window_range) DO UPDATE
    SET rule = excluded.rule, reason = excluded.reason, dag_id = excluded.dag_id, run_id = excluded.run_id,
        skipped_at = excluded.skipped_at;
    RETURN TRUE;
END;
$$;

-- Removes the skip of a window.
CREATE OR REPLACE FUNCTION ops.forget_skip(p_dataset text, p_window tstzrange) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM ops.skipped_windows AS s WHERE s.dataset = p_dataset AND s.window_range = p_window;
$$;

REVOKE EXECUTE ON FUNCTION ops.skip_window, ops.forget_skip FROM public;
GRANT EXECUTE ON FUNCTION ops.skip_window, ops.forget_skip TO loader;
