-- One row a task of the platform's own DAGs: how its latest try went.
CREATE TABLE ops.own_tasks (
    dag_id text NOT NULL,
    task_id text NOT NULL,
    run_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'succeeded', 'retrying', 'failed')),
    error text,
    began_at timestamptz NOT NULL,
    claim integer NOT NULL,
    backend_pid integer NOT NULL,
    PRIMARY KEY (dag_id, task_id)
);

COMMENT ON TABLE ops.own_tasks IS
'The latest try of each task of the platform''s own DAGs; one that is running and whose session is gone was killed';

-- One row such a DAG that is to run again and again: how often another one has run since it did last. So a machine that
-- was off for a week has missed nothing, and a DAG that is paused or cannot be read is missed within twenty minutes.
CREATE TABLE ops.own_dags (
    dag_id text PRIMARY KEY,
    missed integer NOT NULL DEFAULT 0,
    last_seen_at timestamptz
);

-- One row a start of the warehouse's server that somebody saw.
CREATE TABLE ops.server_starts (
    started_at timestamptz PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT ops.clock()
);

CREATE INDEX server_starts_by_when_seen ON ops.server_starts (seen_at);
