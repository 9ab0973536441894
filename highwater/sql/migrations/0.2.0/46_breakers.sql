-- One row a time that a dataset was stopped; one that has a DAG and no row in control.datasets yet is stopped too.
CREATE TABLE ops.breakers (
    breaker_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL,
    error_kind text NOT NULL,
    reason text NOT NULL,
    window_ranges tstzmultirange NOT NULL,
    fingerprint text NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT ops.clock(),
    closed_at timestamptz,
    resumed_at timestamptz,
    CONSTRAINT dataset_is_a_short_lower_case_name CHECK (dataset ~ '^[a-z][a-z0-9_]{0,29}$')
);

CREATE UNIQUE INDEX a_dataset_is_stopped_once ON ops.breakers (dataset) WHERE closed_at IS NULL;
CREATE INDEX breakers_closed ON ops.breakers (dataset, closed_at);
CREATE INDEX breakers_not_resumed ON ops.breakers (breaker_id) WHERE resumed_at IS NULL;

COMMENT ON TABLE ops.breakers IS 'When and why no more windows of a dataset were tried, and since when they are again';
COMMENT ON COLUMN ops.breakers.window_ranges IS
'The windows that had failed; of a dataset that is not registered, the dates of its runs';
COMMENT ON COLUMN ops.breakers.fingerprint IS
'Of all that a change of may mend it: files, rows of control, the published table';
COMMENT ON COLUMN ops.breakers.resumed_at IS 'When a backfill was asked for of what was not tried';
