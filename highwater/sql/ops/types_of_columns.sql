-- One row per type of the table's columns, without length and brackets; of a domain its base type.
SELECT DISTINCT
    regexp_replace(
        CASE
            WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod)
            ELSE format_type(a.atttypid, a.atttypmod)
        END,
        '\(.*\)|(\[\])+$', '', 'g'
    ) AS type_name
FROM pg_catalog.pg_attribute AS a
INNER JOIN pg_catalog.pg_type AS t ON a.atttypid = t.oid
LEFT JOIN pg_catalog.pg_type AS e ON t.typelem = e.oid AND t.typcategory = 'A'
WHERE
    a.attrelid = format('%I.%I', %(schema)s::text, %(table)s::text)::regclass
    AND a.attnum > 0 AND NOT a.attisdropped AND coalesce(e.typtype, t.typtype) <> 'e';
