-- The warehouse is not busy: half of its connections are free, and fewer than three sessions wait for a lock.
SELECT
    (
        SELECT sum(numbackends) FROM pg_catalog.pg_stat_database
    ) < current_setting('max_connections')::integer / 2
    AND (
        SELECT count(DISTINCT pid) FROM pg_catalog.pg_locks
        WHERE NOT granted
    ) < 3 AS holds;
