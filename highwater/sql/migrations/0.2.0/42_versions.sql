-- One row a version of a window that is kept though it is not published: its ledger row as it was, and its table.
CREATE TABLE ops.former_versions (
    former_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    version integer NOT NULL,
    rows_extracted bigint NOT NULL,
    rows_published bigint NOT NULL,
    rows_quarantined bigint NOT NULL,
    rows_deduplicated bigint NOT NULL,
    content_hash text NOT NULL,
    source_snapshot text,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    landed_at timestamptz NOT NULL,
    table_name text NOT NULL,
    state text NOT NULL CHECK (state IN ('kept', 'rolled back', 'forgotten')),
    replaced_at timestamptz NOT NULL,
    shape_id integer REFERENCES ops.shapes
);

CREATE UNIQUE INDEX one_kept_version_of_a_number
ON ops.former_versions (dataset, window_range, version) WHERE state = 'kept';

COMMENT ON COLUMN ops.former_versions.state IS
'kept: it may be put back; rolled back: another was put in its place, so it is not offered again; forgotten: the '
'window was taken out of the ledger since, whose versions began anew';

-- One row per refused source row of a former version.
CREATE TABLE quarantine.former_rejected_rows (
    former_id bigint NOT NULL REFERENCES ops.former_versions ON DELETE CASCADE,
    reason text NOT NULL,
    source_row jsonb NOT NULL,
    run_id text NOT NULL,
    quarantined_at timestamptz NOT NULL
);

CREATE INDEX former_rejected_rows_by_version ON quarantine.former_rejected_rows (former_id);

-- One row a rollback: who put which version in the place of which, and why.
CREATE TABLE ops.rollbacks (
    rollback_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    from_version integer NOT NULL,
    from_run_id text NOT NULL,
    from_content_hash text NOT NULL,
    to_version integer NOT NULL,
    to_run_id text NOT NULL,
    content_hash text NOT NULL,
    as_version integer NOT NULL,
    rolled_back_by text NOT NULL,
    login text NOT NULL DEFAULT session_user,
    reason text NOT NULL,
    rolled_back_at timestamptz NOT NULL DEFAULT ops.clock()
);

CREATE INDEX rollbacks_by_window ON ops.rollbacks (dataset, window_range);

COMMENT ON TABLE ops.rollbacks IS 'Who put which former version of a window back, and why';
COMMENT ON COLUMN ops.rollbacks.as_version IS 'The version in the ledger under which the former one stands again';
