-- One row per view of a schema: name, comment, and its columns as [name, type, comment].
SELECT
    c.relname,
    obj_description(c.oid, 'pg_class') AS comment,
    json_agg(
        json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum))
        ORDER BY a.attnum
    ) AS columns
FROM pg_class AS c
INNER JOIN pg_attribute AS a ON c.oid = a.attrelid
WHERE c.relkind IN ('v', 'm') AND a.attnum > 0 AND NOT a.attisdropped AND c.relnamespace = %(schema)s::regnamespace
GROUP BY c.oid
ORDER BY c.relname;
