-- One row: the highest usual number of rows in a change set of %(hours)s hours: five times the usual rows per hour, and
-- at least a thousand.
SELECT
    greatest(
        1000, 5 * greatest(1, %(hours)s) * coalesce(percentile_cont(0.9) WITHIN GROUP (ORDER BY rows_per_hour), 0)
    )::bigint AS usual_rows
FROM (
    SELECT
        s.rows_extracted
        / greatest(1, extract(EPOCH FROM upper(s.window_range) - lower(s.window_range)) / 3600) AS rows_per_hour
    FROM ops.processing_summary AS s
    WHERE s.dataset = %(dataset)s AND s.mode = 'incremental'
    ORDER BY upper(s.window_range) DESC
    LIMIT 200
) AS recent;
