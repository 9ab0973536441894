-- Monitoring of the platform itself: its own DAGs record that they run, and the warehouse when it was started. Run as
-- publisher; again is harmless.

-- Records that a task has begun; it lives as long as the caller's session. Its DAG counts as running.
CREATE OR REPLACE FUNCTION ops.begin_own_task(p_dag_id text, p_task_id text, p_run_id text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO ops.own_tasks (dag_id, task_id, run_id, state, began_at, claim, backend_pid)
    VALUES (p_dag_id, p_task_id, p_run_id, 'running', ops.clock(), ops.take_claim(), pg_backend_pid())
    ON CONFLICT (dag_id, task_id) DO UPDATE
    SET
        run_id = excluded.run_id, state = excluded.state, error = NULL, began_at = excluded.began_at,
        claim = excluded.claim, backend_pid = excluded.backend_pid;
    INSERT INTO ops.own_dags AS d (dag_id, last_seen_at)
    VALUES (p_dag_id, ops.clock())
    ON CONFLICT (dag_id) DO UPDATE SET missed = 0, last_seen_at = excluded.last_seen_at
$$;

-- Records how a task ended. A successful run of a watcher counts as a missed one of each other DAG, until that runs.
CREATE OR REPLACE FUNCTION ops.end_own_task(p_dag_id text, p_task_id text, p_state text, p_error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE ops.own_tasks AS t
    SET state = p_state, error = p_error
    WHERE t.dag_id = p_dag_id AND t.task_id = p_task_id AND t.backend_pid = pg_backend_pid() AND t.state = 'running';
    IF NOT found OR p_state <> 'succeeded' THEN
        RETURN;
    END IF;
    IF (p_dag_id, p_task_id) IN (('incident_watch', 'look'), ('catchup_control', 'fill_gaps')) THEN
        INSERT INTO ops.own_dags AS d (dag_id, missed)
        SELECT k.dag_id, 1 FROM unnest(ARRAY['catchup_control', 'content_check', 'incident_watch']) AS k (dag_id)
        WHERE k.dag_id <> p_dag_id
        ON CONFLICT (dag_id) DO UPDATE SET missed = d.missed + 1;
    END IF;
END;
$$;

-- Records when the server was started, if that is new; returns whether it restarts too often.
CREATE OR REPLACE FUNCTION ops.note_start() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM ops.server_starts AS s WHERE s.started_at = pg_postmaster_start_time()) THEN
        RETURN FALSE;
    END IF;
    INSERT INTO ops.server_starts (started_at) VALUES (pg_postmaster_start_time()) ON CONFLICT DO NOTHING;
    DELETE FROM ops.server_starts AS s WHERE s.seen_at < ops.clock() - '7 days'::interval;
    RETURN EXISTS (SELECT FROM ops.platform_troubles AS t WHERE t.kind = 'warehouse restarts');
END;
$$;

-- Whether a task is still recorded as running: one that ended since the caller's snapshot has recorded its end by now.
CREATE OR REPLACE FUNCTION ops.own_task_runs(p_task ops.own_tasks) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM ops.own_tasks AS t
        WHERE
            t.dag_id = p_task.dag_id AND t.task_id = p_task.task_id AND t.state = 'running'
            AND t.claim = p_task.claim AND t.backend_pid = p_task.backend_pid
    )
$$;

-- One row per trouble of the platform itself; its subject takes the place of a dataset.
CREATE OR REPLACE VIEW ops.platform_troubles AS
SELECT
    'platform task failed' AS kind,
    t.dag_id AS subject,
    t.began_at AS since
FROM ops.own_tasks AS t
LEFT JOIN ops.live_sessions AS live ON t.claim = live.claim AND t.backend_pid = live.backend_pid
WHERE
    (t.state = 'failed' OR (t.state = 'running' AND live.claim IS NULL AND ops.own_task_runs(t)))
    -- A paused DAG has no next run that could succeed.
    AND NOT EXISTS (
        SELECT FROM ops.incidents AS i
        WHERE i.kind = 'platform task failed' AND i.subject = t.dag_id AND i.acknowledged_at >= t.began_at
    )
UNION ALL
SELECT
    'platform DAG does not run' AS kind,
    d.dag_id AS subject,
    coalesce(d.last_seen_at, ops.clock()) AS since
FROM ops.own_dags AS d
-- Two watchers run every five minutes: 4 are twenty minutes; 1152 are two days, for what runs nightly.
WHERE d.missed >= CASE d.dag_id WHEN 'content_check' THEN 1152 ELSE 4 END
UNION ALL
SELECT
    'warehouse restarts' AS kind,
    'warehouse' AS subject,
    min(s.seen_at) AS since
FROM ops.server_starts AS s
WHERE s.seen_at > ops.clock() - '1 hour'::interval
HAVING count(*) >= 5;

REVOKE EXECUTE ON FUNCTION ops.begin_own_task, ops.end_own_task, ops.note_start, ops.own_task_runs FROM public;
GRANT EXECUTE ON FUNCTION ops.begin_own_task, ops.end_own_task, ops.note_start TO loader;
GRANT EXECUTE ON FUNCTION ops.own_task_runs TO loader, analyst;
GRANT SELECT ON ops.own_tasks, ops.own_dags, ops.server_starts, ops.platform_troubles TO loader, analyst;
