-- One row per expectation of the latest audits of a window, newest audit first, failures before passes.
SELECT
    v.suite,
    v.expectation,
    v.column_name,
    v.severity,
    v.description,
    v.verdict,
    v.observed,
    v.unexpected_count,
    v.rows_query,
    v.run_id,
    v.try_number,
    v.validated_at
FROM ops.validation_results AS v
WHERE
    v.dataset = %(dataset)s AND lower(v.window_range) >= %(since)s AND lower(v.window_range) < %(until)s
ORDER BY
    v.validated_at DESC, array_position(ARRAY['failed', 'error', 'warning', 'passed'], v.verdict) ASC, v.rule_number ASC
LIMIT 200;
