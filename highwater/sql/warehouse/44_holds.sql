-- Holds: a window that was rolled back is held until a person releases it, and nothing is published into it meanwhile.
-- ops.rollback_window creates holds, ops.publish_window checks them. Run as publisher; idempotent.

-- One row per window that is held now: the version that the rollback restored is the published one.
CREATE OR REPLACE VIEW ops.held_windows AS
SELECT
    h.hold_id,
    h.dataset,
    h.window_range,
    l.version,
    h.held_by,
    h.reason,
    h.held_at,
    'rolled back to version ' || l.version || ' by ' || h.held_by || ' at '
    || to_char(h.held_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC: ' || h.reason AS sentence
FROM ops.holds AS h
INNER JOIN ops.window_ledger AS l
    ON h.dataset = l.dataset AND h.window_range = l.window_range AND l.staged_as = 'rollback ' || h.rollback_id
WHERE h.released_at IS NULL;

-- Who holds a window and why, as a sentence; null if it is not held. Found by the keys of both tables.
CREATE OR REPLACE FUNCTION ops.held_because(p_dataset text, p_window tstzrange) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT w.sentence FROM ops.held_windows AS w WHERE w.dataset = p_dataset AND w.window_range = p_window
$$;

-- Refuses to replace a window that a person holds; the hint says how to release it.
CREATE OR REPLACE FUNCTION ops.assert_not_held(p_dataset text, p_window tstzrange) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    why CONSTANT text := ops.held_because(p_dataset, p_window);
BEGIN
    IF why IS NOT NULL THEN
        RAISE EXCEPTION '% % is held, %', p_dataset, p_window, why
            USING ERRCODE = 'HW015', HINT = format(
                'To load it again: scripts/highwater release %s --from %s --to %s --reason …', p_dataset,
                to_char(lower(p_window), 'YYYY-MM-DD"T"HH24:MI'), to_char(upper(p_window), 'YYYY-MM-DD"T"HH24:MI')
            );
    END IF;
END;
$$;

-- Holds the window of a rollback; an earlier hold of it is ended.
CREATE OR REPLACE FUNCTION ops.hold_window(p_rollback bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    done ops.rollbacks;
BEGIN
    SELECT * INTO STRICT done FROM ops.rollbacks AS r WHERE r.rollback_id = p_rollback;
    UPDATE ops.holds AS h
    SET
        released_at = ops.clock(), released_by = done.rolled_back_by, released_login = session_user,
        release_reason = 'rolled back again, as rollback ' || done.rollback_id
    WHERE h.dataset = done.dataset AND h.window_range = done.window_range AND h.released_at IS NULL;
    INSERT INTO ops.holds (dataset, window_range, rollback_id, held_by, login, reason, held_at)
    VALUES (
        done.dataset, done.window_range, done.rollback_id, done.rolled_back_by, done.login, done.reason,
        done.rolled_back_at
    );
END;
$$;

-- Releases the held windows of a dataset that lie wholly in a range; returns them.
CREATE OR REPLACE FUNCTION ops.release_windows(
    p_dataset text, p_from timestamptz, p_to timestamptz, p_by text, p_reason text
) RETURNS SETOF ops.holds
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
BEGIN
    IF coalesce(p_by, '') !~ '\S' OR coalesce(p_reason, '') !~ '\S' THEN
        RAISE EXCEPTION 'invalid release by "%" for reason "%": expected both', coalesce(p_by, ''), coalesce(p_reason, '')
            USING ERRCODE = 'HW008';
    ELSIF p_from >= p_to THEN
        RAISE EXCEPTION 'from % is not before to %: did you mean them the other way round?',
            to_char(p_from, 'YYYY-MM-DD HH24:MI'), to_char(p_to, 'YYYY-MM-DD HH24:MI') USING ERRCODE = 'HW008';
    END IF;
    RETURN QUERY
    UPDATE ops.holds AS h
    SET
        released_at = ops.clock(), released_by = trim(p_by), released_login = session_user, release_reason = trim(p_reason)
    FROM ops.held_windows AS w
    WHERE w.hold_id = h.hold_id AND h.dataset = p_dataset AND h.window_range <@ tstzrange(p_from, p_to)
    RETURNING h.*;
END;
$$;

-- Releases the holds that a person was shown, all or none: one that has changed since, as by another rollback of its
-- window, was not part of that decision.
CREATE OR REPLACE FUNCTION ops.release_holds(p_holds bigint[], p_by text, p_reason text) RETURNS SETOF ops.holds
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    shown ops.holds;
    released ops.holds;
BEGIN
    FOR shown IN SELECT h.* FROM ops.holds AS h WHERE h.hold_id = ANY(p_holds) ORDER BY h.hold_id LOOP
        -- While the dataset is locked, no window of it can be rolled back.
        PERFORM ops.hold_dataset(shown.dataset);
        IF NOT EXISTS (SELECT FROM ops.held_windows AS w WHERE w.hold_id = shown.hold_id) THEN
            RAISE EXCEPTION '% % is no longer held as it was shown%: check it again', shown.dataset, shown.window_range,
                coalesce(', but ' || ops.held_because(shown.dataset, shown.window_range), '') USING ERRCODE = 'HW008';
        END IF;
        FOR released IN
            SELECT r.* FROM ops.release_windows(
                shown.dataset, lower(shown.window_range), upper(shown.window_range), p_by, p_reason
            ) AS r
        LOOP
            RETURN NEXT released;
        END LOOP;
    END LOOP;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.held_because, ops.assert_not_held, ops.hold_window, ops.release_windows FROM public;
REVOKE EXECUTE ON FUNCTION ops.release_holds FROM public;
GRANT EXECUTE ON FUNCTION ops.release_holds TO operator;
GRANT EXECUTE ON FUNCTION ops.held_because TO loader, analyst, operator;
GRANT EXECUTE ON FUNCTION ops.assert_not_held TO loader;
GRANT EXECUTE ON FUNCTION ops.release_windows TO operator;
GRANT SELECT ON ops.holds, ops.held_windows TO loader, analyst;
