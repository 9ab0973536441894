-- One row once the stores list the day: whether it is closed, and its number of sales.
SELECT
    closed_at <= %(now)s AS complete,
    sales AS expected_rows,
    'the day closes at ' || to_char(closed_at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS note
FROM store.closed_days
WHERE day = (%(window_start)s AT TIME ZONE 'UTC')::date;
