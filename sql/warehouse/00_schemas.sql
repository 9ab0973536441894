-- The schemas of the warehouse and who may see into them. Run as publisher, which owns them all.
CREATE SCHEMA IF NOT EXISTS staging;
CREATE SCHEMA IF NOT EXISTS sales;
CREATE SCHEMA IF NOT EXISTS quarantine;
CREATE SCHEMA IF NOT EXISTS ops;
CREATE SCHEMA IF NOT EXISTS control;

COMMENT ON SCHEMA staging IS 'Sets of tables, one per window and attempt, made by functions; read by the audit alone';
COMMENT ON SCHEMA sales IS 'Published tables: written by the publishing functions alone';
COMMENT ON SCHEMA quarantine IS 'Rows that were refused, each with its reason';
COMMENT ON SCHEMA ops IS 'What happened: the ledger, attempts, validation results';
COMMENT ON SCHEMA control IS 'What is wanted: datasets and their grids';

GRANT USAGE ON SCHEMA sales, quarantine, ops, control TO loader, analyst;
GRANT USAGE ON SCHEMA staging TO loader, analyst;

-- A published table is for reading from the start. What is revoked from it later stays revoked, and no partition has
-- rights of its own: it is made in staging.
ALTER DEFAULT PRIVILEGES FOR ROLE publisher IN SCHEMA sales GRANT SELECT ON TABLES TO loader, analyst;

-- Whether a session may pin the clock: only where the platform was started with a pinned one, as tests do.
CREATE OR REPLACE FUNCTION ops.clock_may_be_set() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT p.clock_may_be_set FROM control.platform AS p);
END;
$$;

-- The one seam to the clock on the SQL side: a session of a test may pin it, as Python does by HIGHWATER_NOW.
CREATE OR REPLACE FUNCTION ops.clock() RETURNS timestamptz
LANGUAGE sql STABLE
RETURN CASE
    WHEN coalesce(current_setting('highwater.now', TRUE), '') <> '' AND ops.clock_may_be_set()
        THEN current_setting('highwater.now', TRUE)::timestamptz
    ELSE statement_timestamp()
END;
