-- One row once the tills list the day: whether it is closed, and its number of rows.
SELECT
    closed_at <= %(now)s AS complete,
    row_count AS expected_rows,
    'the day closes at ' || to_char(closed_at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS note
FROM legacy.closed_days
WHERE business_date = (%(window_start)s AT TIME ZONE 'UTC')::date;
