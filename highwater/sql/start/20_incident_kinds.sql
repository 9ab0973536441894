-- What of each kind of incident people are told: the words are the engine's, how soon it is urgent is theirs to change.

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'source away', '1 hour', FALSE,
    'Its loads are tried again with growing waits. See that the source is up and takes the login of its reader.'
),
(
    'audit failed', '1 hour', FALSE,
    'Nothing of it was published. The error in ops.window_status names the expectation and a query that lists the '
    'rows; mend the source, clean.sql or the suite, then clear the run in Airflow.'
),
(
    'load failed', '1 hour', FALSE,
    'Airflow tries a killed task again; a load that used up its tries, or was refused, wants its run cleared once '
    'the reason in ops.window_status is mended.'
),
(
    'integrity broken', '1 hour', FALSE,
    'Source and warehouse do not agree: ops.attempts and the task''s log name what differs.'
),
(
    'freshness exceeded', '2 hours', FALSE,
    'See scripts/highwater status for what is missing, and that the DAG is neither paused nor without runs.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'content differs', '1 hour', FALSE,
    'What is published is not what landed: ops.newest_content_checks says what differs. Load the windows again: '
    'scripts/highwater backfill run DATASET --which all; of a dataset that is loaded by its changes, '
    'scripts/highwater checkpoint reset DATASET, and run it.'
),
(
    'sums differ', '1 hour', FALSE,
    'Totals and gaps are not what the ledger adds up to: ops.ledger_months was changed by hand, or while its triggers '
    'were off. As postgres: SELECT ops.recount_months(''DATASET''); then scripts/highwater verify DATASET.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

-- Shown beside the incidents, and none.
INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, is_trouble, advice)
VALUES
(
    'first load of history', '24 hours', FALSE, FALSE,
    'Nothing is wrong: windows that were due before the first start are being loaded. scripts/highwater '
    'recovery shows how far that is.'
)
ON CONFLICT (kind) DO UPDATE
    SET advice = excluded.advice
    WHERE incident_kinds.advice <> excluded.advice;

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'catch-up off while windows are missing', '24 hours', FALSE,
    'Nothing loads these windows by itself. scripts/highwater policy history says who switched it off and why; '
    'scripts/highwater policy set DATASET --enabled lets them land, scripts/highwater backfill loads some of them.'
),
(
    'condition cannot be looked at', '2 hours', FALSE,
    'What it answered last still counts. control.condition_states has the error; the predicate is in '
    'sql/catchup_control/conditions/.'
),
(
    'policy cannot be read', '2 hours', FALSE,
    'What cannot be read is left out, and what was known of it before stays in force. scripts/highwater policy show '
    'says what is wrong; correct the row or the file that it names.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'rolled back', '24 hours', TRUE,
    'A former version was put back; ops.rollbacks says by whom and why. A held window is loaded '
    'again once the source, clean.sql or the suite is mended and scripts/highwater release has let go of it.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'dataset stopped', '1 hour', FALSE,
    'Its windows failed in a row for one reason, or it has a DAG and no row in control.datasets: ops.breakers says '
    'which. No more are tried until a file of sql/, expectations/ or dags/, a setting, a connection, its rows of '
    'control or its table changed, or one lands: once an hour one is tried, since a source or a secret may have been '
    'mended. Then all that was not loaded comes back by itself.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'platform task failed', '1 hour', FALSE,
    'A task of one of the platform''s own DAGs failed, was cancelled or killed: ops.own_tasks says which and why. It '
    'is over when the next run of the task goes well.'
),
(
    'platform DAG does not run', '1 hour', FALSE,
    'Other DAGs of the platform run and this one does not: see that it is neither paused nor without runs, and that '
    'Airflow can read its file.'
),
(
    'warehouse restarts', '1 hour', FALSE,
    'The server of the warehouse was started five times or more within an hour: its log says why it ended. It is over '
    'when an hour has passed with fewer.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'backfill not started', '2 hours', FALSE,
    'No run of selective_backfill has begun it. See that the DAGs selective_backfill and catchup_control are not '
    'paused and that their runs do not fail; scripts/highwater backfill list shows what Airflow said. '
    'scripts/highwater backfill cancel takes it back.'
),
(
    'backfill stopped', '2 hours', FALSE,
    'Its run ended before its windows were done, or no lane can load them: scripts/highwater backfill list says which. '
    'They wait until scripts/highwater backfill resume, or cancel, which leaves them to the schedule and the policy.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'outage found', '6 hours', FALSE,
    'Windows that are due are missing; system_recovery_processing loads them, payments first. '
    'scripts/highwater recovery shows how far it is.'
),
(
    'backlog growing', '12 hours', FALSE,
    'More becomes due than lands. See scripts/highwater recovery and the incidents beside this one; the pools of the '
    'sources (Airflow, Admin, Pools) bound how many windows are in work.'
),
(
    'data lost', '24 hours', TRUE,
    'The source no longer keeps these windows; they are recorded as skipped by the rule lost. If they can be had '
    'elsewhere, load them there and clear the run.'
),
(
    'platform unhealthy', '1 hour', FALSE,
    'Recovery waits. The last rows of ops.health_checks say what is not well.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);
