-- One row per right on a table, view or function of the engine that the admin has granted to a role outside the engine:
-- an object that is recreated would lose it.
SELECT
    o.kind,
    o.name,
    a.privilege_type AS privilege,
    a.is_grantable,
    r.rolname AS grantee
FROM (
    SELECT
        'TABLE' AS kind,
        c.oid::regclass::text AS name,
        c.relacl AS acl
    FROM pg_catalog.pg_class AS c
    WHERE
        c.relnamespace IN (to_regnamespace('control'), to_regnamespace('ops'), to_regnamespace('quarantine'))
        AND c.relkind IN ('r', 'v')
    UNION ALL
    SELECT
        'FUNCTION' AS kind,
        p.oid::regprocedure::text AS name,
        p.proacl AS acl
    FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace IN (to_regnamespace('control'), to_regnamespace('ops'), to_regnamespace('quarantine'))
    UNION ALL
    SELECT
        'SCHEMA' AS kind,
        format('%I', n.nspname) AS name,
        n.nspacl AS acl
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname IN ('control', 'ops', 'quarantine')
) AS o
CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS a
INNER JOIN pg_catalog.pg_roles AS r ON a.grantee = r.oid
WHERE r.rolname <> all(%(roles)s::name[])
ORDER BY 1, 2, 5, 3;
