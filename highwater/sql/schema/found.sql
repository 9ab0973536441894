-- One row: what the warehouse's database holds before anything is changed. Any role may run it.
SELECT
    to_regclass('control.alembic_version') IS NOT NULL AS has_version,
    to_regclass('ops.window_ledger') IS NOT NULL AS has_ledger,
    (
        -- Schema staging belonged to the loader in older versions.
        SELECT string_agg(format('%s of %s', n.nspname, r.rolname), ', ' ORDER BY n.nspname)
        FROM pg_catalog.pg_namespace AS n INNER JOIN pg_catalog.pg_roles AS r ON n.nspowner = r.oid
        WHERE
            n.nspname IN ('control', 'ops', 'quarantine', 'archive', 'former', 'staging', 'sales')
            AND r.rolname <> 'publisher'
            AND (n.nspname, r.rolname) <> ('staging', 'loader')
    ) AS of_others,
    (
        SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname)
        FROM (
            SELECT
                r.oid,
                r.relname
            FROM pg_catalog.pg_class AS r INNER JOIN pg_catalog.pg_namespace AS n ON r.relnamespace = n.oid
            WHERE n.nspname IN ('control', 'ops') AND r.relkind IN ('r', 'p')
            ORDER BY r.relname
            LIMIT 3
        ) AS c
    ) AS some_tables;
