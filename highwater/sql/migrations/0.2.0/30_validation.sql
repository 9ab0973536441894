CREATE TABLE ops.validation_results (
    validation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL,
    window_range tstzrange NOT NULL,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    try_number integer NOT NULL,
    suite text NOT NULL,
    audited_table text NOT NULL,
    rule_number smallint NOT NULL,
    expectation text NOT NULL,
    column_name text,
    severity text NOT NULL CHECK (severity IN ('critical', 'warning')),
    description text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('passed', 'failed', 'warning', 'error')),
    observed jsonb,
    unexpected_count bigint,
    rows_query text,
    details jsonb NOT NULL,
    validated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT window_is_usual CHECK (control.is_usual_window(window_range)),
    CONSTRAINT names_are_short CHECK (
        control.are_names(dag_id, run_id, suite, audited_table, expectation, column_name)
    ),
    CONSTRAINT counts_are_usual CHECK (control.are_counts(rule_number, unexpected_count))
);

CREATE INDEX validation_results_of_window
ON ops.validation_results (dataset, lower(window_range), validated_at);

COMMENT ON TABLE ops.validation_results IS
'One row for each expectation of each audit: verdict, value seen and the query that lists the offending rows.';
COMMENT ON COLUMN ops.validation_results.rule_number IS 'Place of the expectation in its suite file, from 1.';
COMMENT ON COLUMN ops.validation_results.verdict IS
'passed; failed: a critical rule is broken, nothing was published; warning: a lesser rule is broken; '
'error: the expectation could not be evaluated.';
COMMENT ON COLUMN ops.validation_results.observed IS
'The value seen, or a few of the offending values; null for an expectation that passed.';
COMMENT ON COLUMN ops.validation_results.rows_query IS
'Lists the offending rows of audited_table for as long as that table is kept.';
