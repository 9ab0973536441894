-- Partitions and former versions of an older warehouse have grants of their own, which bypass those of the parent.
DO $$
DECLARE
    held record;
BEGIN
    FOR held IN
        SELECT c.oid::regclass AS held_in
        FROM pg_catalog.pg_class AS c
        WHERE
            c.relkind = 'r' AND c.relowner = 'publisher'::regrole
            AND (c.relispartition OR c.relnamespace = to_regnamespace('archive'))
            AND EXISTS (
                SELECT FROM pg_catalog.aclexplode(c.relacl) AS a
                WHERE a.grantee = 0 OR a.grantee = 'loader'::regrole OR (a.grantee <> c.relowner AND c.relispartition)
            )
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, loader, analyst', held.held_in);
    END LOOP;
END;
$$;
