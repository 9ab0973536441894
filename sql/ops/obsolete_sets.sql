-- One row per table that attempts at this window left in staging, unless somebody is at work on the window besides the
-- run that asks.
SELECT c.relname::text AS table_name
FROM pg_catalog.pg_class AS c
WHERE
    c.relnamespace = 'staging'::regnamespace AND c.relkind = 'r'
    AND starts_with(c.relname, %(prefix)s)
    AND NOT EXISTS (
        SELECT DISTINCT ON (a.dag_id, a.run_id) a.state
        FROM ops.attempts AS a
        LEFT JOIN ops.live_attempts AS live USING (attempt_id)
        WHERE
            a.dataset = %(dataset)s AND a.window_range = %(window_range)s
            AND CASE
                WHEN a.dag_id = %(dag_id)s AND a.run_id = %(run_id)s
                    -- an orphan of the same run that still works
                    THEN a.stage <> 'summarise' AND live.attempt_id IS NOT NULL
                ELSE
                    a.state IN ('running', 'retrying')
                    OR (a.state = 'succeeded' AND a.stage <> 'summarise' AND NOT EXISTS (
                        SELECT FROM ops.attempts AS later
                        WHERE
                            later.dag_id = a.dag_id AND later.run_id = a.run_id
                            AND later.dataset = a.dataset AND later.window_range = a.window_range
                            AND later.attempt_id > a.attempt_id
                    ))
            END
    )
ORDER BY c.relname;
