-- One row per session that holds tables of this database in an open transaction, oldest first: the user, since when,
-- and the tables. Only sessions that began before the start waited can block it.
SELECT
    s.pid,
    s.usename::text AS usename,
    to_char(s.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') AS since,
    (
        SELECT string_agg(h.name, ', ' ORDER BY h.name)
        FROM (
            SELECT l.relation::regclass::text AS name
            FROM pg_catalog.pg_locks AS l
            INNER JOIN pg_catalog.pg_class AS c ON l.relation = c.oid
            WHERE
                l.pid = s.pid AND l.locktype = 'relation' AND l.granted AND c.relkind IN ('r', 'p')
                AND l.database = (
                    SELECT d.oid FROM pg_catalog.pg_database AS d
                    WHERE d.datname = current_database()
                )
            ORDER BY c.relkind DESC, c.relname ASC
            LIMIT 5
        ) AS h
    ) AS tables
FROM pg_catalog.pg_stat_activity AS s
WHERE
    s.datname = current_database() AND s.pid <> pg_backend_pid() AND s.backend_type = 'client backend'
    AND s.xact_start < now() - '1 second'::interval
    AND EXISTS (
        SELECT FROM pg_catalog.pg_locks AS l
        INNER JOIN pg_catalog.pg_class AS c ON l.relation = c.oid
        WHERE
            l.pid = s.pid AND l.locktype = 'relation' AND l.granted AND c.relkind IN ('r', 'p')
            AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    )
ORDER BY s.xact_start
LIMIT 3;
