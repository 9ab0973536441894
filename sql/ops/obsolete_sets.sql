-- One row per table that attempts at this window left in staging, unless somebody is at work on the window besides
-- the run that asks: a run whose newest attempt runs, is to be tried again or awaits its next stage, or an orphan of
-- the same run that still works.
SELECT c.relname::text AS table_name
FROM pg_catalog.pg_class AS c
WHERE
    c.relnamespace = 'staging'::regnamespace AND c.relkind = 'r'
    AND starts_with(c.relname, %(prefix)s)
    AND NOT EXISTS (
        SELECT FROM (
            SELECT DISTINCT ON (a.dag_id, a.run_id)
                a.stage,
                a.state,
                a.started_at
            FROM ops.attempts AS a
            WHERE
                a.dataset = %(dataset)s AND a.window_range = %(window_range)s
                AND (a.dag_id <> %(dag_id)s OR a.run_id <> %(run_id)s)
            ORDER BY a.dag_id ASC, a.run_id ASC, a.attempt_id DESC
        ) AS newest
        WHERE
            (newest.state IN ('running', 'retrying') OR (newest.state = 'succeeded' AND newest.stage <> 'summarise'))
            -- one that has stopped half-way for so long will not go on
            AND newest.started_at > ops.clock() - '1 day'::interval
    )
    AND NOT EXISTS (
        SELECT FROM ops.attempts AS a
        INNER JOIN ops.live_attempts USING (attempt_id)
        WHERE
            a.dataset = %(dataset)s AND a.window_range = %(window_range)s
            AND a.dag_id = %(dag_id)s AND a.run_id = %(run_id)s
            AND a.stage <> 'summarise'
    )
ORDER BY c.relname;
