GRANT UPDATE (on_shrink, max_shrink) ON control.datasets TO operator;

-- The dataset of a window whose next load may be accepted; refuses a window that no load can come for. The preview and
-- the acceptance use the same check.
CREATE OR REPLACE FUNCTION ops.acceptable(p_dataset text, p_window tstzrange) RETURNS control.datasets
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    wanted CONSTANT control.datasets := ops.dataset_with_window(p_dataset, p_window);
BEGIN
    IF upper(p_window) > ops.clock() THEN
        RAISE EXCEPTION '% % has not ended yet: nothing can be loaded for it', p_dataset, p_window
            USING ERRCODE = 'HW008';
    END IF;
    RETURN wanted;
END;
$$;

-- Accepts that the next load of a window has much less than what is published. An earlier acceptance that is still
-- unused is kept. Returns the valid one.
CREATE OR REPLACE FUNCTION ops.accept_shrink(p_dataset text, p_window tstzrange, p_by text, p_reason text)
RETURNS control.accepted_reloads
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    wanted CONSTANT control.datasets := ops.acceptable(p_dataset, p_window);
    valid control.accepted_reloads;
BEGIN
    p_by := control.words('by', p_by, 'HW008');
    p_reason := control.words('reason', p_reason, 'HW008');
    INSERT INTO control.accepted_reloads (dataset, window_range, accepted_by, login, reason, accepted_at)
    VALUES (wanted.dataset, p_window, p_by, session_user, p_reason, ops.clock())
    ON CONFLICT (dataset, window_range) WHERE used_at IS NULL DO NOTHING;
    SELECT * INTO STRICT valid FROM control.accepted_reloads AS a
    WHERE a.dataset = wanted.dataset AND a.window_range = p_window AND a.used_at IS NULL;
    RETURN valid;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.accept_shrink FROM public;
GRANT EXECUTE ON FUNCTION ops.accept_shrink TO operator;
GRANT SELECT ON control.accepted_reloads TO loader, analyst;
