-- One row per trigger, view or function of the publisher's in the engine's schemas, and per table for the rights on it:
-- what the files of highwater/sql/warehouse/ create. Each has a fingerprint of its definition and of the rights of the
-- engine's roles. Functions that constraints, defaults and indexes of the engine's tables call, directly or not, are
-- left out: migrations create them.
WITH RECURSIVE schemas AS (
    SELECT n.oid FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname IN ('control', 'ops', 'quarantine', 'archive', 'former', 'staging')
),

ours AS (
    SELECT
        r.oid,
        r.rolname
    FROM pg_catalog.pg_roles AS r
    WHERE r.rolname IN (SELECT unnest(%(roles)s::name[]))
    UNION ALL
    SELECT
        0 AS oid,
        'public' AS rolname
),

of_tables AS (
    SELECT
        'pg_constraint'::regclass AS classid,
        c.oid AS objid
    FROM pg_catalog.pg_constraint AS c
    WHERE c.connamespace IN (SELECT s.oid FROM schemas AS s)
    UNION ALL
    SELECT
        'pg_attrdef'::regclass AS classid,
        a.oid AS objid
    FROM pg_catalog.pg_attrdef AS a INNER JOIN pg_catalog.pg_class AS c ON a.adrelid = c.oid
    WHERE c.relnamespace IN (SELECT s.oid FROM schemas AS s)
    UNION ALL
    SELECT
        'pg_class'::regclass AS classid,
        c.oid AS objid
    FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace IN (SELECT s.oid FROM schemas AS s) AND c.relkind IN ('r', 'p', 'i', 'I')
),

called AS (
    SELECT d.refobjid AS oid
    FROM pg_catalog.pg_depend AS d INNER JOIN of_tables AS t ON d.classid = t.classid AND d.objid = t.objid
    WHERE d.refclassid = 'pg_proc'::regclass
    UNION
    SELECT d.refobjid AS oid
    FROM called AS c INNER JOIN pg_catalog.pg_depend AS d ON c.oid = d.objid
    WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_proc'::regclass
),

objects AS (
    SELECT
        'trigger' AS kind,
        t.oid,
        format('%I ON %s', t.tgname, t.tgrelid::regclass) AS name,
        t.tgenabled::text || pg_catalog.pg_get_triggerdef(t.oid) AS definition,
        NULL::aclitem[] AS acl,
        'pg_trigger'::regclass AS classid
    FROM pg_catalog.pg_trigger AS t INNER JOIN pg_catalog.pg_class AS c ON t.tgrelid = c.oid
    WHERE c.relnamespace IN (SELECT s.oid FROM schemas AS s) AND NOT t.tgisinternal
    UNION ALL
    SELECT
        'view' AS kind,
        c.oid,
        c.oid::regclass::text AS name,
        concat(c.reloptions, pg_catalog.pg_get_viewdef(c.oid)) AS definition,
        c.relacl AS acl,
        'pg_class'::regclass AS classid
    FROM pg_catalog.pg_class AS c
    WHERE
        c.relnamespace IN (SELECT s.oid FROM schemas AS s) AND c.relkind = 'v' AND c.relowner = 'publisher'::regrole
    UNION ALL
    SELECT
        'function' AS kind,
        p.oid,
        p.oid::regprocedure::text AS name,
        pg_catalog.pg_get_functiondef(p.oid) AS definition,
        coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl,
        'pg_proc'::regclass AS classid
    FROM pg_catalog.pg_proc AS p
    WHERE
        p.pronamespace IN (SELECT s.oid FROM schemas AS s) AND p.proowner = 'publisher'::regrole
        AND p.prokind IN ('f', 'p') AND p.oid NOT IN (SELECT c.oid FROM called AS c)
    UNION ALL
    SELECT
        'rights' AS kind,
        c.oid,
        c.oid::regclass::text AS name,
        '' AS definition,
        c.relacl AS acl,
        NULL AS classid
    FROM pg_catalog.pg_class AS c
    WHERE
        c.relnamespace IN (to_regnamespace('control'), to_regnamespace('ops'), to_regnamespace('quarantine'))
        AND c.relkind IN ('r', 'p')
)

SELECT
    o.kind,
    o.oid::bigint AS oid,
    o.classid::oid::bigint AS classid,
    o.name,
    CASE o.kind
        WHEN 'trigger' THEN 'DROP TRIGGER ' || o.name
        WHEN 'view' THEN format('DROP VIEW IF EXISTS %s CASCADE', o.name)
        WHEN 'function' THEN format('DROP ROUTINE IF EXISTS %s CASCADE', o.name)
    END AS drop,
    pg_catalog.md5(
        concat_ws(
            ' ', o.definition,
            (
                SELECT
                    string_agg(
                        concat_ws(' ', r.rolname, a.privilege_type, a.is_grantable), ','
                        ORDER BY r.rolname, a.privilege_type
                    )
                FROM pg_catalog.aclexplode(o.acl) AS a INNER JOIN ours AS r ON a.grantee = r.oid
            ),
            (
                SELECT string_agg(concat_ws(' ', d.objsubid, d.description), ',' ORDER BY d.objsubid)
                FROM pg_catalog.pg_description AS d
                WHERE d.classoid = o.classid AND d.objoid = o.oid
            )
        )
    ) AS fingerprint
FROM objects AS o
ORDER BY o.kind, o.name;
