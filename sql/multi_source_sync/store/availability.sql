-- One row when the stores' day is known, none before: is it closed by now, and how many sales does it hold?
SELECT
    closed_at <= %(now)s AS complete,
    sales AS expected_rows,
    'the day closes at ' || to_char(closed_at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS note
FROM store.closed_days
WHERE day = (%(window_start)s AT TIME ZONE 'UTC')::date;
