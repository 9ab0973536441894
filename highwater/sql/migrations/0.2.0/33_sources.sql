-- One row a source that there is; a rule is of one of them.
CREATE TABLE control.known_sources (
    source text PRIMARY KEY,
    holds text NOT NULL,
    CONSTRAINT source_is_the_id_of_a_connection CHECK (source ~ '^[A-Za-z0-9_.-]{1,200}$'),
    CONSTRAINT source_says_what_it_holds CHECK (holds <> '')
);

COMMENT ON TABLE control.known_sources IS 'The sources that a rule can be of; yours is a row more';
COMMENT ON COLUMN control.known_sources.source IS 'The name of its Airflow connection';

-- One row a dataset: how its source is read, and what happens when something is wrong with it.
CREATE TABLE control.sources (
    dataset text PRIMARY KEY REFERENCES control.datasets,
    strategy text NOT NULL DEFAULT 'xid',
    overlap interval NOT NULL DEFAULT '15 minutes',
    reconcile_every interval NOT NULL DEFAULT '24 hours',
    max_changes bigint NOT NULL DEFAULT 1000000,
    max_deleted_share numeric(4, 3) NOT NULL DEFAULT 0.500,
    on_replaced_source text NOT NULL DEFAULT 'full',
    on_changed_schema text NOT NULL DEFAULT 'full',
    on_large_change_set text NOT NULL DEFAULT 'stop',
    on_mass_delete text NOT NULL DEFAULT 'stop',
    keys_per_bucket integer NOT NULL DEFAULT 10000,
    buckets_per_check integer NOT NULL DEFAULT 2,
    full_run_wanted text,
    source text NOT NULL,
    catch_up text NOT NULL DEFAULT 'all',
    reliability_threshold numeric NOT NULL DEFAULT 0.8,
    reliability_checks integer NOT NULL DEFAULT 10,
    catch_up_limit interval NOT NULL DEFAULT '30 days',
    statement_timeout interval NOT NULL DEFAULT '2 minutes',
    CONSTRAINT overlap_is_not_negative CHECK (extract(EPOCH FROM overlap) >= 0),
    CONSTRAINT reconcile_every_is_positive CHECK (extract(EPOCH FROM reconcile_every) > 0),
    CONSTRAINT max_changes_is_positive CHECK (max_changes > 0),
    CONSTRAINT max_deleted_share_is_a_share CHECK (max_deleted_share BETWEEN 0 AND 1),
    CONSTRAINT on_replaced_source_is_full_or_stop CHECK (on_replaced_source IN ('full', 'stop')),
    CONSTRAINT on_changed_schema_is_full_or_stop CHECK (on_changed_schema IN ('full', 'stop')),
    CONSTRAINT on_large_change_set_is_full_stop_or_accept CHECK (on_large_change_set IN ('full', 'stop', 'accept')),
    CONSTRAINT on_mass_delete_is_stop_or_accept CHECK (on_mass_delete IN ('stop', 'accept')),
    CONSTRAINT buckets_are_positive CHECK (keys_per_bucket > 0 AND buckets_per_check > 0),
    CONSTRAINT each_source_feeds_one_dataset UNIQUE (source),
    CONSTRAINT catch_up_is_all_reliable_or_none CHECK (catch_up IN ('all', 'reliable', 'none')),
    CONSTRAINT reliability_threshold_is_between_0_and_1 CHECK (reliability_threshold BETWEEN 0 AND 1),
    CONSTRAINT reliability_checks_is_between_1_and_1000 CHECK (reliability_checks BETWEEN 1 AND 1000),
    CONSTRAINT catch_up_limit_is_not_negative CHECK (extract(EPOCH FROM catch_up_limit) >= 0),
    CONSTRAINT statement_timeout_is_a_second_to_a_day CHECK (extract(EPOCH FROM statement_timeout) BETWEEN 1 AND 86400),
    CONSTRAINT source_is_known FOREIGN KEY (source) REFERENCES control.known_sources,
    CONSTRAINT strategy_is_xid_updated_at_or_windows CHECK (strategy IN ('xid', 'updated_at', 'windows')),
    CONSTRAINT catch_up_limit_is_at_most_36600_days CHECK (control.is_usual_span(catch_up_limit)),
    CONSTRAINT overlap_is_at_most_36600_days CHECK (control.is_usual_span(overlap)),
    CONSTRAINT reconcile_every_is_at_most_36600_days CHECK (control.is_usual_span(reconcile_every))
);

COMMENT ON COLUMN control.sources.strategy IS
'xid: exact, by the transaction that changed a row; updated_at: by the time it says, which misses a transaction that '
'commits later than overlap and every deletion, until the next full run; windows: whole windows of a fixed grid';
COMMENT ON COLUMN control.sources.overlap IS 'updated_at only: read again what changed so long before the watermark';
COMMENT ON COLUMN control.sources.reconcile_every IS 'A full run when the last one is older';
COMMENT ON COLUMN control.sources.max_changes IS 'A larger change set falls under on_large_change_set';
COMMENT ON COLUMN control.sources.max_deleted_share IS
'A run that would delete a larger share of the live rows falls under on_mass_delete';
COMMENT ON COLUMN control.sources.buckets_per_check IS
'So many times keys_per_bucket rows of source and target each are compared by an incremental run, the next ones by the '
'next; a full run compares all, by as many hashes as it takes for so many keys each';
COMMENT ON COLUMN control.sources.full_run_wanted IS
'Who wants the next run to be a full one, and why; the run that is clears it';

COMMENT ON TABLE control.sources IS 'One row a source: which dataset it feeds, how it is read, how far it is trusted';
COMMENT ON COLUMN control.sources.source IS 'The name of its Airflow connection, as control.known_sources has it';
COMMENT ON COLUMN control.sources.catch_up IS
'Which past windows are loaded: all; reliable: only while the source is; none: only the current window is ever loaded';
COMMENT ON COLUMN control.sources.reliability_threshold IS 'The share of good checks from which a source is reliable';
COMMENT ON COLUMN control.sources.reliability_checks IS
'The share is taken over so many of the newest checks; with fewer of them a source is not reliable yet';
COMMENT ON COLUMN control.sources.catch_up_limit IS 'A reliable source catches up no further back than this';
COMMENT ON COLUMN control.sources.statement_timeout IS 'A statement that the source needs longer for is given up';

-- One row a look at a source. A run looks once; its load adds a row only when the source broke off under it.
CREATE TABLE ops.source_checks (
    check_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    window_range tstzrange NOT NULL,
    checked_at timestamptz NOT NULL,
    reachable boolean NOT NULL,
    latency_seconds numeric(12, 3) NOT NULL,
    complete boolean,
    error text,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    try_number integer NOT NULL,
    CONSTRAINT a_source_that_is_away_is_not_complete CHECK (reachable OR complete IS NOT TRUE),
    CONSTRAINT window_is_usual CHECK (control.is_usual_window(window_range)),
    CONSTRAINT names_are_short CHECK (control.are_names(source, dag_id, run_id)),
    CONSTRAINT counts_are_usual CHECK (control.are_counts(latency_seconds))
);

CREATE INDEX source_checks_of_source ON ops.source_checks (source, check_id);
CREATE INDEX source_checks_by_window ON ops.source_checks (source, lower(window_range));

COMMENT ON COLUMN ops.source_checks.complete IS 'Whether the window is complete there; null: it is not due yet';
COMMENT ON COLUMN ops.source_checks.latency_seconds IS 'How long it took to get the answer, or to give up';

-- One row each time the reliability of a source switched its catch-up on or off.
CREATE TABLE ops.catch_up_changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    changed_at timestamptz NOT NULL,
    catches_up boolean NOT NULL,
    reason text NOT NULL,
    dag_id text NOT NULL,
    run_id text NOT NULL
);
