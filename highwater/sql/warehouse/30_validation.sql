-- Results of audits. Grain: one row for each expectation of each audit; rows are added, never changed.
-- Run as publisher; idempotent.

-- Stores the results of an audit; returns the number of rows. Only a run that is at work on the dataset may do so.
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
