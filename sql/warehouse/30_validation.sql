-- What the audits saw. Grain: one row for each expectation of each audit; rows are added, never changed.
-- Run as publisher; again is harmless.

CREATE TABLE IF NOT EXISTS ops.validation_results (
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
    validated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

DO $$
BEGIN
    PERFORM control.add_rule_of_records(
        'ops.validation_results', 'window_is_usual',
        'control.is_usual_window(window_range)'
    );
    PERFORM control.add_rule_of_records(
        'ops.validation_results', 'names_are_short',
        'control.are_names(dag_id, run_id, suite, audited_table, expectation, column_name)'
    );
    PERFORM control.add_rule_of_records(
        'ops.validation_results', 'counts_are_usual',
        'control.are_counts(rule_number, unexpected_count)'
    );
END;
$$;

CREATE INDEX IF NOT EXISTS validation_results_of_window
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

-- Stores what an audit found, a row an expectation; returns the rows. Only a run that is at work on the dataset may.
CREATE OR REPLACE FUNCTION ops.record_audit(
    p_dataset text,
    p_window tstzrange,
    p_dag_id text,
    p_run_id text,
    p_try integer,
    p_suite text,
    p_audited_table text,
    p_findings jsonb
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stored bigint;
BEGIN
    PERFORM ops.assert_at_work(p_dataset, p_dag_id, p_run_id);
    INSERT INTO ops.validation_results (
        dataset, window_range, dag_id, run_id, try_number, suite, audited_table, rule_number, expectation, column_name,
        severity, description, verdict, observed, unexpected_count, rows_query, details
    )
    SELECT
        p_dataset, p_window, p_dag_id, p_run_id, p_try, p_suite, p_audited_table, f.rule_number, f.expectation,
        f.column_name, f.severity, control.cut(f.description), f.verdict, f.observed, f.unexpected_count,
        control.cut(f.rows_query), f.details
    FROM jsonb_to_recordset(p_findings) AS f (
        rule_number smallint, expectation text, column_name text, severity text, description text, verdict text,
        observed jsonb, unexpected_count bigint, rows_query text, details jsonb
    )
    ORDER BY f.rule_number;
    GET DIAGNOSTICS stored = ROW_COUNT;
    RETURN stored;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.record_audit FROM public;
GRANT EXECUTE ON FUNCTION ops.record_audit TO loader;
REVOKE INSERT ON ops.validation_results FROM loader;
GRANT SELECT ON ops.validation_results TO loader, analyst;
