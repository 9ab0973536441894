-- The kinds of incidents and the advice on each. The engine sets the advice; an operator may change escalate_after.

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'source unavailable', '1 hour', FALSE,
    'Its loads are retried with growing waits. Check that the source is up and accepts the login of its reader.'
),
(
    'audit failed', '1 hour', FALSE,
    'Nothing was published. The error in ops.window_status names the expectation and a query that lists the rows; '
    'correct the source, clean.sql or the suite, then clear the run in Airflow.'
),
(
    'load failed', '1 hour', FALSE,
    'Airflow retries a killed task. For a load that was refused or has no retries left, correct the reason in '
    'ops.window_status, then clear its run.'
),
(
    'integrity broken', '1 hour', FALSE,
    'Source and warehouse differ: ops.attempts and the log of the task name the difference.'
),
(
    'freshness exceeded', '2 hours', FALSE,
    'See scripts/highwater status for what is missing, and check that the DAG has runs and is not paused.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'content differs', '1 hour', FALSE,
    'The published rows are not those that landed: ops.newest_content_checks names the difference. Load the windows '
    'again with scripts/highwater backfill run DATASET --which all; for a dataset that is loaded by its changes use '
    'scripts/highwater checkpoint reset DATASET, then run its DAG.'
),
(
    'sums differ', '1 hour', FALSE,
    'Totals and gaps differ from the ledger: ops.ledger_months was changed by hand, or the ledger while its triggers '
    'were disabled. As postgres: SELECT ops.recount_months(''DATASET''); then scripts/highwater verify DATASET.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

-- Listed with the incidents, but not a trouble.
INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, is_trouble, advice)
VALUES
(
    'first load of history', '24 hours', FALSE, FALSE,
    'Nothing is wrong: windows that were due before the first start are being loaded. scripts/highwater '
    'recovery shows the progress.'
)
ON CONFLICT (kind) DO UPDATE
    SET advice = excluded.advice
    WHERE incident_kinds.advice <> excluded.advice;

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'catch-up off while windows are missing', '24 hours', FALSE,
    'These windows are not loaded automatically. scripts/highwater policy history shows who switched catch-up off and '
    'why; scripts/highwater policy set DATASET --enabled loads all of them, scripts/highwater backfill some of them.'
),
(
    'condition cannot be evaluated', '2 hours', FALSE,
    'Its last answer still counts. control.condition_states has the error; the predicate is in '
    'sql/catchup_control/conditions/.'
),
(
    'policy cannot be read', '2 hours', FALSE,
    'The unreadable part is ignored, and its last known state stays in force. scripts/highwater policy show names the '
    'row or the file to correct.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'rolled back', '24 hours', TRUE,
    'A former version was restored; ops.rollbacks says by whom and why. A held window is loaded again after '
    'scripts/highwater release: correct the source, clean.sql or the suite first.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'dataset stopped', '1 hour', FALSE,
    'Its windows failed in a row for one reason, or it has a DAG but no row in control.datasets: see ops.breakers. No '
    'more windows are tried until a file of sql/, expectations/ or dags/, a setting, a connection, its rows in control '
    'or its table changes, or a window lands: one is tried every hour, in case a source or a secret was corrected. '
    'Then the rest is loaded automatically.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'platform task failed', '1 hour', FALSE,
    'A task of one of the platform''s own DAGs failed, was cancelled or was killed: ops.own_tasks says which and why. '
    'This closes when the next run of the task succeeds.'
),
(
    'platform DAG does not run', '1 hour', FALSE,
    'Other DAGs of the platform run and this one does not: check that it has runs and is not paused, and that Airflow '
    'can parse its file.'
),
(
    'warehouse restarts', '1 hour', FALSE,
    'The server of the warehouse was started five times or more within an hour: its log says why it ended. This closes '
    'when an hour has passed with fewer starts.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'backfill not started', '2 hours', FALSE,
    'No run of selective_backfill has begun it. Check that the DAGs selective_backfill and catchup_control are not '
    'paused and that their runs do not fail; scripts/highwater backfill list shows the answer of Airflow. '
    'scripts/highwater backfill cancel withdraws it.'
),
(
    'backfill stopped', '2 hours', FALSE,
    'Its run ended before its windows were done, or no lane can load them: see scripts/highwater backfill list. They '
    'wait until scripts/highwater backfill resume, or cancel, which leaves them to the schedule and the policy.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'outage found', '6 hours', FALSE,
    'Windows that are due are missing; system_recovery_processing loads them, critical datasets first. '
    'scripts/highwater recovery shows the progress.'
),
(
    'backlog growing', '12 hours', FALSE,
    'More windows become due than land. See scripts/highwater recovery and the other incidents; the pools of the '
    'sources (Airflow, Admin, Pools) limit the number of windows in work.'
),
(
    'data lost', '24 hours', TRUE,
    'The source no longer keeps these windows; they are skipped by the rule lost. If their data can be restored in the '
    'source, restore it and clear the run.'
),
(
    'platform unhealthy', '1 hour', FALSE,
    'Recovery waits. The last rows of ops.health_checks say what is wrong.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);
