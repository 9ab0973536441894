-- Store an audit: one row an expectation. Run as loader.
INSERT INTO ops.validation_results (
    dataset, window_range, dag_id, run_id, try_number, suite, audited_table, rule_number, expectation, column_name,
    severity, description, verdict, observed, unexpected_count, rows_query, details
)
SELECT
    %(dataset)s,
    tstzrange(%(window_start)s, %(window_end)s) AS window_range,
    %(dag_id)s,
    %(run_id)s,
    %(try_number)s,
    %(suite)s,
    %(audited_table)s,
    finding.rule_number,
    finding.expectation,
    finding.column_name,
    finding.severity,
    finding.description,
    finding.verdict,
    finding.observed,
    finding.unexpected_count,
    finding.rows_query,
    finding.details
FROM
    jsonb_to_recordset(%(findings)s::jsonb)
        AS finding (
            rule_number smallint,
            expectation text,
            column_name text,
            severity text,
            description text,
            verdict text,
            observed jsonb,
            unexpected_count bigint,
            rows_query text,
            details jsonb
        )
ORDER BY finding.rule_number
