-- One row a set that has tables.
CREATE TABLE ops.staging_sets (
    set_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    set_name text NOT NULL GENERATED ALWAYS AS ('set_' || set_id) STORED UNIQUE,
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    made_at timestamptz NOT NULL,
    finished_at timestamptz,
    rows_extracted bigint,
    rows_published bigint,
    rows_quarantined bigint,
    rows_deduplicated bigint,
    content_hash text,
    shape_id integer REFERENCES ops.shapes,
    CONSTRAINT window_is_usual CHECK (control.is_usual_window(window_range)),
    CONSTRAINT names_are_short CHECK (control.are_names(dag_id, run_id))
);

CREATE INDEX staging_sets_of_dataset ON ops.staging_sets (dataset, window_range);

COMMENT ON TABLE ops.staging_sets IS
'Sets in schema staging: what each is of, and what it holds as the database counted it';
COMMENT ON COLUMN ops.staging_sets.finished_at IS 'Since then nobody may write to it';
