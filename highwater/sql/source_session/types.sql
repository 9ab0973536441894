-- One row a type, in the order asked for: its name without a length, what kind of type it is, and what it or an
-- element of it is called; null where the warehouse does not know it.
SELECT
    format_type(t.oid, -1) AS type_name,
    t.typtype::text AS kind,
    coalesce(e.typname, t.typname)::text AS element
FROM unnest(%(oids)s::oid[]) WITH ORDINALITY AS wanted (oid, place)
LEFT JOIN pg_catalog.pg_type AS t ON wanted.oid = t.oid
LEFT JOIN pg_catalog.pg_type AS e ON t.typelem = e.oid AND t.typcategory = 'A'
ORDER BY wanted.place;
