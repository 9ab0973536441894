-- Outages of the simulated sources. An outage is real: the role that reads the source may not log in.
-- Run as the admin that created the roles, in the database of the sources; idempotent. The functions run with the
-- admin's rights, so they accept only sources listed here, and only the simulator may call them.

CREATE SCHEMA IF NOT EXISTS gate;

CREATE TABLE IF NOT EXISTS gate.readers (
    source text PRIMARY KEY,
    role name NOT NULL UNIQUE
);
COMMENT ON TABLE gate.readers IS 'The sources that can have an outage, and the role that reads each';

INSERT INTO gate.readers (source, role)
VALUES ('store', 'store_reader'), ('partner', 'partner_reader'), ('supplier', 'supplier_reader')
ON CONFLICT (source) DO UPDATE SET role = excluded.role WHERE readers.role <> excluded.role;

CREATE OR REPLACE FUNCTION gate.reader_of(source text) RETURNS name
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reader name := (SELECT r.role FROM gate.readers AS r WHERE r.source = reader_of.source);
BEGIN
    IF reader IS NULL THEN
        RAISE EXCEPTION 'source % cannot have an outage: expected one of %', quote_nullable(source),
            (SELECT string_agg(r.source, ', ' ORDER BY r.source) FROM gate.readers AS r)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN reader;
END;
$$;

-- Allow or forbid the login of a source's reader; returns whether that changed anything. It takes effect at commit, so
-- end_sessions is called after that, in a transaction of its own.
CREATE OR REPLACE FUNCTION gate.set_open(source text, is_open boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reader name := gate.reader_of(source);
BEGIN
    IF is_open = (SELECT r.rolcanlogin FROM pg_roles AS r WHERE r.rolname = reader) THEN
        RETURN FALSE;
    END IF;
    EXECUTE format('ALTER ROLE %I %s', reader, CASE WHEN is_open THEN 'LOGIN' ELSE 'NOLOGIN' END);
    RETURN TRUE;
END;
$$;

-- End the sessions of a source's reader; returns their number, without those that take more than five seconds to end.
CREATE OR REPLACE FUNCTION gate.end_sessions(source text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(*) FILTER (WHERE pg_terminate_backend(a.pid, 5000))
    FROM pg_stat_activity AS a
    WHERE a.usename = gate.reader_of(end_sessions.source)
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA gate FROM public;
GRANT USAGE ON SCHEMA gate TO simulator;
GRANT SELECT, REFERENCES ON gate.readers TO simulator;
GRANT EXECUTE ON FUNCTION gate.set_open(text, boolean), gate.end_sessions(text) TO simulator;
