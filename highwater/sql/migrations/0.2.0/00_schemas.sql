-- The schemas of the warehouse. Run as publisher, which owns them all; some may be there already.
CREATE SCHEMA IF NOT EXISTS staging;
CREATE SCHEMA IF NOT EXISTS sales;
CREATE SCHEMA IF NOT EXISTS former;
CREATE SCHEMA quarantine;
CREATE SCHEMA ops;
CREATE SCHEMA IF NOT EXISTS control;

COMMENT ON SCHEMA staging IS 'Sets of tables, one per window and attempt, made by functions; read by the audit alone';
COMMENT ON SCHEMA sales IS 'Published tables: written by the publishing functions alone';
COMMENT ON SCHEMA former IS 'Former versions of windows, a table each; ops.versions says which is which';
COMMENT ON SCHEMA quarantine IS 'Rows that were refused, each with its reason';
COMMENT ON SCHEMA ops IS 'What happened: the ledger, attempts, validation results';
COMMENT ON SCHEMA control IS 'What is wanted: datasets and their grids';

-- A published table is for reading from the start. What is revoked from it later stays revoked, and no partition has
-- rights of its own: it is made in staging.
ALTER DEFAULT PRIVILEGES FOR ROLE publisher IN SCHEMA sales GRANT SELECT ON TABLES TO loader, analyst;

-- Whether a session may pin the clock: only where the platform was started with a pinned one, as tests do.
CREATE FUNCTION ops.clock_may_be_set() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT p.clock_may_be_set FROM control.platform AS p);
END;
$$;

-- The one seam to the clock on the SQL side: a session of a test may pin it, as Python does by HIGHWATER_NOW.
CREATE FUNCTION ops.clock() RETURNS timestamptz
LANGUAGE sql STABLE
RETURN CASE
    WHEN coalesce(current_setting('highwater.now', TRUE), '') <> '' AND ops.clock_may_be_set()
        THEN current_setting('highwater.now', TRUE)::timestamptz
    ELSE statement_timestamp()
END;

-- One row a file of sql/warehouse/ as it was applied last, and one of the objects that they made: what differs is made
-- anew by the next start.
CREATE TABLE control.repeatable (
    name text PRIMARY KEY,
    fingerprint text NOT NULL,
    applied_at timestamptz NOT NULL
);

COMMENT ON TABLE control.repeatable IS 'Functions, views and triggers of the warehouse, by the files that made them';
COMMENT ON COLUMN control.repeatable.name IS 'A file of sql/warehouse/; or (objects): what they had made';
