-- Settings of a session at a source, within its transaction. A pooler may pass on a connection that another client
-- configured: what Highwater does not set returns to the defaults of the role and the database.
SET LOCAL role TO DEFAULT;
SET LOCAL search_path TO DEFAULT;
SET LOCAL row_security TO DEFAULT;
SET LOCAL statement_timeout TO DEFAULT;
SET LOCAL lock_timeout TO DEFAULT;
SET LOCAL timezone TO 'UTC';
SET LOCAL client_encoding TO %(encoding)s;
SET LOCAL datestyle TO DEFAULT;
SET LOCAL datestyle TO 'ISO';
SET LOCAL intervalstyle TO 'postgres';
SET LOCAL extra_float_digits TO 3;
