-- Claims, leases and turns: which sessions are at work. Run as publisher; idempotent.
--
-- A claim lives exactly as long as the database session that took it: a kill -9 or a cut network ends it without any
-- cleanup. It cannot be taken in advance, because its number is random. It cannot be forged, because it counts only
-- while held by the recorded process, which must be a loader's.

-- The current processes of the loader's sessions. A transaction caches what it once read from pg_stat_activity: without
-- clearing that, one that waited for its turn would take newer sessions for dead.
CREATE OR REPLACE FUNCTION ops.loader_processes() RETURNS SETOF integer
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_stat_clear_snapshot();
    RETURN QUERY SELECT s.pid FROM pg_stat_activity AS s WHERE s.usename = 'loader';
END;
$$;

-- Live claims: 18807 is "Hw" in ASCII.
CREATE OR REPLACE VIEW ops.live_sessions AS
SELECT
    l.objid::bigint::integer AS claim,
    l.pid AS backend_pid
FROM pg_catalog.pg_locks AS l
INNER JOIN ops.loader_processes() AS s (pid) ON l.pid = s.pid
WHERE
    l.locktype = 'advisory' AND l.classid = 18807 AND l.objsubid = 2 AND l.granted
    AND l.database = (
        SELECT oid FROM pg_catalog.pg_database
        WHERE datname = current_database()
    );

-- The claim of the caller's session; takes one if it has none yet.
CREATE OR REPLACE FUNCTION ops.take_claim() RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    claim integer := (SELECT s.claim FROM ops.live_sessions AS s WHERE s.backend_pid = pg_backend_pid() LIMIT 1);
BEGIN
    WHILE claim IS NULL LOOP
        claim := ('x' || left(gen_random_uuid()::text, 8))::bit(32)::integer & 2147483647;
        claim := CASE WHEN pg_try_advisory_lock(18807, claim) THEN claim END;
    END LOOP;
    RETURN claim;
END;
$$;

-- The sessions that hold tables, oldest transaction first: analyst (pid 17, since 2026-10-31 12:00:05 UTC); null if
-- none does. With p_rows, only sessions that changed or locked rows count.
CREATE OR REPLACE FUNCTION ops.holders_of(p_tables regclass[], p_rows boolean DEFAULT FALSE) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    SELECT string_agg(
        format(
            '%s (pid %s%s)', coalesce(s.usename::text, s.backend_type, 'another session'), s.pid,
            to_char(s.xact_start, '", since "YYYY-MM-DD HH24:MI:SS" UTC"')
        ), ', ' ORDER BY s.xact_start, s.pid
    )
    FROM pg_stat_activity AS s
    WHERE
        s.pid <> pg_backend_pid() AND s.leader_pid IS NULL
        AND s.pid IN (
            SELECT l.pid FROM pg_locks AS l
            WHERE
                l.locktype = 'relation' AND l.granted AND l.relation = ANY(p_tables)
                AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
                AND NOT (p_rows AND l.mode = 'AccessShareLock')
        )
$$;

-- Raises the error for a lock that was not granted in time on tables, or on rows of them: busy, with the holders.
CREATE OR REPLACE FUNCTION ops.refuse_held(p_what text, p_tables regclass[], p_rows boolean DEFAULT FALSE) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_stat_clear_snapshot();
    RAISE EXCEPTION '% is held by %', p_what,
        coalesce(ops.holders_of(p_tables, p_rows), 'a transaction that has ended since')
        USING
            ERRCODE = 'lock_not_available',
            HINT = 'It is tried again; SELECT pg_terminate_backend(pid) ends a transaction that does not end.';
END;
$$;

-- Locks tables exclusively for the caller's transaction; refuses as busy those that are held.
CREATE OR REPLACE FUNCTION ops.lock_tables(p_tables regclass[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted regclass;
BEGIN
    FOREACH wanted IN ARRAY p_tables LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', wanted);
        EXCEPTION WHEN lock_not_available THEN
            PERFORM ops.refuse_held('table ' || wanted, ARRAY[wanted]);
        END;
    END LOOP;
END;
$$;

-- Waits for a turn and keeps it until the transaction ends.
CREATE OR REPLACE FUNCTION ops.take_turn(p_turn text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO ops.turns (turn) VALUES (p_turn) ON CONFLICT DO NOTHING;
    PERFORM FROM ops.turns AS t WHERE t.turn = p_turn FOR UPDATE;
EXCEPTION WHEN lock_not_available THEN
    PERFORM ops.refuse_held('the turn of ' || p_turn, ARRAY['ops.turns'::regclass], TRUE);
END;
$$;

-- Takes a lease that no live session has; returns whether the caller has it now.
CREATE OR REPLACE FUNCTION ops.take_lease(p_lease text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_lease IS DISTINCT FROM 'outbox' THEN
        RAISE EXCEPTION 'unknown lease "%": expected outbox', p_lease USING ERRCODE = 'HW001';
    END IF;
    PERFORM ops.take_turn('lease of ' || p_lease);
    IF EXISTS (
        SELECT FROM ops.leases AS l INNER JOIN ops.live_sessions AS s USING (claim, backend_pid)
        WHERE l.lease = p_lease AND l.backend_pid <> pg_backend_pid()
    ) THEN
        RETURN FALSE;
    END IF;
    INSERT INTO ops.leases AS l (lease, claim, backend_pid)
    VALUES (p_lease, ops.take_claim(), pg_backend_pid())
    ON CONFLICT (lease) DO UPDATE SET claim = excluded.claim, backend_pid = excluded.backend_pid;
    RETURN TRUE;
END;
$$;

-- Returns a lease of the caller's.
CREATE OR REPLACE FUNCTION ops.drop_lease(p_lease text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM ops.leases AS l WHERE l.lease = p_lease AND l.backend_pid = pg_backend_pid()
$$;

REVOKE EXECUTE ON FUNCTION
ops.take_claim, ops.take_turn, ops.take_lease, ops.drop_lease, ops.holders_of, ops.refuse_held, ops.lock_tables
FROM public;
GRANT EXECUTE ON FUNCTION ops.take_lease, ops.drop_lease TO loader;
REVOKE EXECUTE ON FUNCTION ops.loader_processes FROM public;
GRANT EXECUTE ON FUNCTION ops.loader_processes TO loader, analyst;
GRANT SELECT ON ops.live_sessions TO loader, analyst;
