-- Access to the schemas.
GRANT USAGE ON SCHEMA sales, quarantine, ops, control TO loader, analyst;
GRANT USAGE ON SCHEMA staging TO loader, analyst;
