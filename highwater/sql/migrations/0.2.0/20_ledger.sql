-- One row a window that landed: written by the publishing functions alone, in the transaction of the data.
CREATE TABLE ops.window_ledger (
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    version integer NOT NULL CHECK (version >= 1),
    rows_extracted bigint NOT NULL,
    rows_published bigint NOT NULL CHECK (rows_published >= 0),
    rows_quarantined bigint NOT NULL CHECK (rows_quarantined >= 0),
    rows_deduplicated bigint NOT NULL CHECK (rows_deduplicated >= 0),
    content_hash text NOT NULL,
    source_snapshot text,
    staged_as text NOT NULL,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    landed_at timestamptz NOT NULL,
    shape_id integer REFERENCES ops.shapes,
    PRIMARY KEY (dataset, window_range),
    CONSTRAINT windows_do_not_overlap EXCLUDE USING gist (dataset WITH =, window_range WITH &&),
    CONSTRAINT every_row_is_accounted_for CHECK (
        rows_extracted = rows_published + rows_quarantined + rows_deduplicated
    ),
    CONSTRAINT window_is_half_open CHECK (
        lower_inc(window_range) AND NOT upper_inc(window_range)
        AND NOT lower_inf(window_range) AND NOT upper_inf(window_range)
    )
);

COMMENT ON TABLE ops.window_ledger IS 'What landed: one row a window of data, in the transaction that published it';
COMMENT ON COLUMN ops.window_ledger.content_hash IS 'Of the published rows, whatever their order';
COMMENT ON COLUMN ops.window_ledger.source_snapshot IS
'What the source showed; of a version that was put back, what it showed to the one that went';
COMMENT ON COLUMN ops.window_ledger.shape_id IS 'The columns that content_hash was taken over';
COMMENT ON COLUMN ops.window_ledger.staged_as IS
'The staging set this version came from, or the rollback that put it back';

-- One row per refused source row of the version that is published.
CREATE TABLE quarantine.rejected_rows (
    dataset text NOT NULL,
    window_range tstzrange NOT NULL,
    reason text NOT NULL,
    source_row jsonb NOT NULL,
    run_id text NOT NULL,
    quarantined_at timestamptz NOT NULL,
    FOREIGN KEY (dataset, window_range) REFERENCES ops.window_ledger
);

CREATE INDEX rejected_rows_by_window ON quarantine.rejected_rows (dataset, window_range);

COMMENT ON TABLE quarantine.rejected_rows IS 'Rows of the source that were not published, with the reason';

-- One row a window that a rule says not to load.
CREATE TABLE ops.skipped_windows (
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    rule text NOT NULL,
    reason text NOT NULL,
    dag_id text,
    run_id text,
    skipped_at timestamptz NOT NULL DEFAULT ops.clock(),
    PRIMARY KEY (dataset, window_range),
    CONSTRAINT names_are_short CHECK (control.are_names(rule, dag_id, run_id))
);

-- One row per run that finished: what it cost.
CREATE TABLE ops.processing_summary (
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    version integer NOT NULL,
    rows_extracted bigint NOT NULL,
    rows_published bigint NOT NULL,
    rows_quarantined bigint NOT NULL,
    rows_deduplicated bigint NOT NULL,
    seconds numeric(12, 3) NOT NULL,
    rows_per_second numeric(14, 1) NOT NULL,
    peak_memory_bytes bigint,
    attempts integer NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    mode text,
    mode_reason text,
    rows_inserted bigint,
    rows_updated bigint,
    rows_deleted bigint,
    changes_by_hour jsonb,
    PRIMARY KEY (dataset, window_range, version),
    CONSTRAINT counts_are_usual CHECK (control.are_counts(seconds, rows_per_second, peak_memory_bytes, rows_published)),
    CONSTRAINT changes_are_counted CHECK (control.are_counts(rows_inserted, rows_updated, rows_deleted)),
    CONSTRAINT names_are_short CHECK (control.are_names(mode))
);

COMMENT ON COLUMN ops.processing_summary.seconds IS 'Work: the stages that succeeded, without the waits between';
