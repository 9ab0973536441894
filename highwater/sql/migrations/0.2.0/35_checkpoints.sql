-- One row a dataset, moved by the functions below and by ops.merge_changes alone, in the transaction of the data.
CREATE TABLE ops.checkpoints (
    dataset text PRIMARY KEY REFERENCES control.sources,
    revision integer NOT NULL DEFAULT 1,
    watermark timestamptz,
    source_snapshot pg_snapshot,
    source_identity jsonb,
    live_rows bigint NOT NULL,
    mode text NOT NULL CHECK (mode IN ('full', 'incremental', 'reset')),
    reason text NOT NULL CHECK (reason <> ''),
    rows_inserted bigint NOT NULL DEFAULT 0,
    rows_updated bigint NOT NULL DEFAULT 0,
    rows_deleted bigint NOT NULL DEFAULT 0,
    last_full_at timestamptz,
    dag_id text,
    run_id text,
    updated_by text NOT NULL CHECK (updated_by <> ''),
    updated_at timestamptz NOT NULL,
    published_rows bigint,
    hash_sums numeric[],
    hashed_columns text[],
    CONSTRAINT points_somewhere_unless_reset CHECK (
        num_nulls(watermark, source_snapshot, source_identity) = CASE mode WHEN 'reset' THEN 3 ELSE 0 END
    ),
    CONSTRAINT content_is_known_whole CHECK (
        num_nulls(published_rows, hash_sums, hashed_columns) IN (0, 3) AND coalesce(cardinality(hash_sums), 2) = 2
    )
);

COMMENT ON COLUMN ops.checkpoints.source_snapshot IS 'What the source showed: the next run takes what this did not see';
COMMENT ON COLUMN ops.checkpoints.revision IS 'Grows by one with every change, whoever makes it';

COMMENT ON COLUMN ops.checkpoints.published_rows IS 'Of the published table, with those that are gone at the source';
COMMENT ON COLUMN ops.checkpoints.hash_sums IS 'Sums of the hashes of its rows by two seeds, as in ops.table_content';
COMMENT ON COLUMN ops.checkpoints.hashed_columns IS
'The columns they are of: all that it had when it was last hashed whole';

-- Every state a checkpoint was ever in, with the login that made it: nobody moves one unseen.
CREATE TABLE ops.checkpoint_history (
    dataset text NOT NULL,
    revision integer NOT NULL,
    change text NOT NULL,
    state jsonb NOT NULL,
    login text NOT NULL DEFAULT session_user,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX checkpoint_history_of_dataset ON ops.checkpoint_history (dataset, recorded_at);

-- Keys whose state at the source was refused when it was last seen: there the published row is an older one, or none.
CREATE TABLE quarantine.refused_keys (
    dataset text NOT NULL REFERENCES control.datasets,
    key text NOT NULL,
    reason text NOT NULL,
    window_range tstzrange NOT NULL,
    PRIMARY KEY (dataset, key),
    CONSTRAINT key_is_an_array CHECK (jsonb_typeof(key::jsonb) = 'array')
);

COMMENT ON COLUMN quarantine.refused_keys.key IS
'The values of the key as a JSON array of strings: ["17"], ["a,b", "2"]';

-- One row a comparison of source and target.
CREATE TABLE ops.consistency_checks (
    check_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    revision integer NOT NULL,
    dag_id text,
    run_id text,
    source_snapshot text NOT NULL,
    rows_compared bigint NOT NULL,
    differing_keys text[] NOT NULL,
    refused_keys integer NOT NULL,
    pending_changes bigint NOT NULL,
    oldest_pending timestamptz,
    newest_pending timestamptz,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_after_source text,
    next_after_target text,
    CONSTRAINT moments_are_usual CHECK (
        control.is_usual_moment(oldest_pending) AND control.is_usual_moment(newest_pending)
    ),
    CONSTRAINT names_are_short CHECK (control.are_names(dag_id, run_id)),
    CONSTRAINT counts_are_usual CHECK (control.are_counts(revision, rows_compared, refused_keys, pending_changes)),
    CONSTRAINT keys_are_keys CHECK (
        array_position(differing_keys, NULL) IS NULL AND coalesce(array_ndims(differing_keys), 1) = 1
    )
);

CREATE INDEX consistency_checks_of_dataset ON ops.consistency_checks (dataset, check_id);

COMMENT ON COLUMN ops.consistency_checks.next_after_source IS
'The key at the source, as in quarantine.refused_keys, that the next comparison goes on behind; null: from the start';
COMMENT ON COLUMN ops.consistency_checks.next_after_target IS 'The same of the published table';
COMMENT ON COLUMN ops.consistency_checks.revision IS 'Of the checkpoint at whose snapshot was compared';
COMMENT ON COLUMN ops.consistency_checks.oldest_pending IS 'By the clock of the warehouse, as newest_pending';
COMMENT ON COLUMN ops.consistency_checks.differing_keys IS
'Not counting those that are in quarantine; the first 100. A key of several columns is a JSON array';
