-- One row per reason for which rows of a window were refused, with a few of the rows where the visitor may see data.
SELECT
    r.reason,
    count(*) AS rows_refused,
    CASE WHEN %(may_see_rows)s THEN (array_agg(left(r.source_row::text, 400)))[1:3] END AS examples
FROM quarantine.rejected_rows AS r
WHERE r.dataset = %(dataset)s AND r.window_range && %(window_range)s
GROUP BY r.reason
ORDER BY rows_refused DESC, r.reason ASC
LIMIT 50;
