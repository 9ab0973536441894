-- One row per table that runs of a dataset left in staging, but for the set that is kept, unless a run besides the one
-- that asks is at work on it: one that has begun a set in the last hour and not come to its end.
SELECT c.relname::text AS table_name
FROM pg_catalog.pg_class AS c
WHERE
    c.relnamespace = 'staging'::regnamespace AND c.relkind = 'r'
    AND starts_with(c.relname, %(prefix)s)
    AND NOT coalesce(starts_with(c.relname, %(kept)s || '_'), FALSE)
    AND NOT EXISTS (
        SELECT FROM (
            SELECT DISTINCT ON (a.dag_id, a.run_id)
                a.stage,
                a.state,
                a.started_at
            FROM ops.attempts AS a
            WHERE a.dataset = %(dataset)s AND (a.dag_id <> %(dag_id)s OR a.run_id <> %(run_id)s)
            ORDER BY a.dag_id ASC, a.run_id ASC, a.attempt_id DESC
        ) AS newest
        WHERE
            newest.stage IN ('identify_changes', 'process_changes', 'update_checkpoint')
            AND newest.state IN ('running', 'retrying', 'succeeded')
            AND newest.started_at > ops.clock() - '1 hour'::interval
    )
ORDER BY c.relname;
