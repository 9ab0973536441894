-- What pg_dump leaves out unless it makes the database itself: owner, rights and settings of the database, as statements
-- of psql for whatever the database is called where they are run.
SELECT format('ALTER DATABASE :"DBNAME" OWNER TO %I;', pg_get_userbyid(datdba))
FROM pg_database
WHERE datname = current_database();

SELECT 'REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;'
FROM pg_database
WHERE datname = current_database() AND datacl IS NOT NULL;

SELECT format(
    'GRANT %s ON DATABASE :"DBNAME" TO %s;',
    a.privilege_type, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
)
FROM pg_database AS d
CROSS JOIN LATERAL aclexplode(d.datacl) AS a
WHERE d.datname = current_database();

SELECT format('ALTER DATABASE :"DBNAME" SET %s TO %L;', split_part(s.setting, '=', 1), substr(s.setting, strpos(s.setting, '=') + 1))
FROM pg_db_role_setting AS r
CROSS JOIN LATERAL unnest(r.setconfig) AS s (setting)
WHERE r.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND r.setrole = 0;
