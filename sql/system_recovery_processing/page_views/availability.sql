-- One row when the batch is known, none before: is it closed by now, and how many views does it hold?
SELECT
    closed_at <= %(now)s AS complete,
    row_count AS expected_rows,
    'the batch closes at ' || to_char(closed_at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS note
FROM web.closed_batches
WHERE batch_start = %(window_start)s;
