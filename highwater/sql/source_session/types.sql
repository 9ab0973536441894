-- One row per type, in the order given: its name without a length, its kind, and the name of it or of its element;
-- null if the warehouse does not know it.
SELECT
    format_type(t.oid, -1) AS type_name,
    t.typtype::text AS kind,
    coalesce(e.typname, t.typname)::text AS element
FROM unnest(%(oids)s::oid[]) WITH ORDINALITY AS wanted (oid, place)
LEFT JOIN pg_catalog.pg_type AS t ON wanted.oid = t.oid
LEFT JOIN pg_catalog.pg_type AS e ON t.typelem = e.oid AND t.typcategory = 'A'
ORDER BY wanted.place;
