-- It is outside of office hours: a weekend, or not between 08:00 and 18:00 UTC.
SELECT
    extract(ISODOW FROM ops.clock() AT TIME ZONE 'UTC') >= 6
    OR extract(HOUR FROM ops.clock() AT TIME ZONE 'UTC') NOT BETWEEN 8 AND 17 AS holds;
