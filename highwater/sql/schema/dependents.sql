-- One row per object of others that depends on an object of the engine: recreating the latter would drop it or fail.
WITH ours AS (
    SELECT
        u.classid::oid AS classid,
        u.objid::oid AS objid
    FROM unnest(%(classes)s::bigint[], %(objects)s::bigint[]) AS u (classid, objid)
),

-- The row type of a view, and the array of it, are the view.
with_types AS (
    SELECT
        o.classid,
        o.objid
    FROM ours AS o
    UNION
    SELECT
        'pg_type'::regclass::oid AS classid,
        u.oid AS objid
    FROM ours AS o
    INNER JOIN pg_catalog.pg_class AS c ON o.objid = c.oid
    INNER JOIN pg_catalog.pg_type AS t ON c.reltype = t.oid
    CROSS JOIN LATERAL (VALUES (t.oid), (t.typarray)) AS u (oid)
    WHERE o.classid = 'pg_class'::regclass
),

needing AS (
    SELECT
        d.classid,
        d.objid,
        d.objsubid,
        d.refclassid,
        d.refobjid,
        -- The whole that a part belongs to.
        CASE d.classid
            WHEN 'pg_rewrite'::regclass THEN 'pg_class'::regclass
            WHEN 'pg_attrdef'::regclass THEN 'pg_class'::regclass
            WHEN 'pg_constraint'::regclass THEN 'pg_class'::regclass
            WHEN 'pg_trigger'::regclass THEN 'pg_class'::regclass
            WHEN 'pg_policy'::regclass THEN 'pg_class'::regclass
            ELSE d.classid
        END AS whole_class,
        CASE d.classid
            WHEN 'pg_rewrite'::regclass
                THEN (
                    SELECT r.ev_class FROM pg_catalog.pg_rewrite AS r
                    WHERE r.oid = d.objid
                )
            WHEN 'pg_attrdef'::regclass
                THEN (
                    SELECT a.adrelid FROM pg_catalog.pg_attrdef AS a
                    WHERE a.oid = d.objid
                )
            WHEN 'pg_constraint'::regclass
                THEN (
                    SELECT c.conrelid FROM pg_catalog.pg_constraint AS c
                    WHERE c.oid = d.objid
                )
            WHEN 'pg_trigger'::regclass
                THEN (
                    SELECT t.tgrelid FROM pg_catalog.pg_trigger AS t
                    WHERE t.oid = d.objid
                )
            WHEN 'pg_policy'::regclass
                THEN (
                    SELECT p.polrelid FROM pg_catalog.pg_policy AS p
                    WHERE p.oid = d.objid
                )
            WHEN 'pg_class'::regclass
                THEN
                    coalesce(
                        (
                            SELECT i.indrelid FROM pg_catalog.pg_index AS i
                            WHERE i.indexrelid = d.objid
                        ), d.objid
                    )
            ELSE d.objid
        END AS whole
    FROM pg_catalog.pg_depend AS d
    INNER JOIN with_types AS w ON d.refclassid = w.classid AND d.refobjid = w.objid
    WHERE d.deptype IN ('n', 'a')
)

SELECT DISTINCT
    pg_catalog.pg_describe_object(n.whole_class, n.whole, 0) AS dependent,
    pg_catalog.pg_describe_object(n.refclassid, n.refobjid, 0) AS needed
FROM needing AS n
WHERE
    NOT EXISTS (
        SELECT FROM with_types AS w
        WHERE w.classid = n.whole_class AND w.objid = n.whole
    )
ORDER BY 1, 2
LIMIT 3;
