-- One row a health check of a run of system_recovery_processing.
CREATE TABLE ops.health_checks (
    check_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    check_name text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('well', 'unwell')),
    detail text NOT NULL,
    seconds numeric(12, 3) NOT NULL,
    run_id text NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT ops.clock(),
    CONSTRAINT names_are_short CHECK (control.are_names(check_name, run_id)),
    CONSTRAINT counts_are_usual CHECK (control.are_counts(seconds))
);

CREATE INDEX health_checks_by_name ON ops.health_checks (check_name, check_id);

-- One row a comparison of what was recovered with what should be there.
CREATE TABLE ops.integrity_checks (
    check_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    check_name text NOT NULL,
    window_ranges tstzmultirange NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('passed', 'failed')),
    detail text NOT NULL,
    run_id text NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT ops.clock(),
    CONSTRAINT windows_are_usual CHECK (window_ranges = control.usual_windows(window_ranges)),
    CONSTRAINT names_are_short CHECK (control.are_names(check_name, run_id))
);

CREATE INDEX integrity_checks_by_name ON ops.integrity_checks (dataset, check_name, check_id);
