-- Settings of every session of Highwater, regardless of ALTER ROLE ... SET, ALTER DATABASE ... SET and the environment.
-- Runs first in every session, and again after each DISCARD ALL; search_path is set before it, so that no name here
-- resolves to an object of a user.
SET ROLE NONE;
-- Whatever a role or a database has set returns to the server's built-in value; a list would miss new settings.
SELECT pg_catalog.set_config(s.name, s.boot_val, FALSE)
FROM pg_catalog.pg_settings AS s
WHERE
    s.source IN ('database', 'user', 'database user') AND s.context = 'user' AND s.boot_val IS NOT NULL
    AND s.setting IS DISTINCT FROM s.boot_val;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';
SET client_encoding = 'UTF8';
SET standard_conforming_strings = TRUE;
SET bytea_output = 'hex';
SET extra_float_digits = 1;
SET xmloption = 'content';
SET lc_monetary = 'C';
SET lc_numeric = 'C';
SET lc_time = 'C';
SET array_nulls = TRUE;
SET transform_null_equals = FALSE;
SET check_function_bodies = TRUE;
SET row_security = TRUE;
SET geqo = TRUE;
SET default_transaction_isolation = 'read committed';
SET default_transaction_read_only = FALSE;
SET default_transaction_deferrable = FALSE;
SET default_table_access_method = 'heap';
SET idle_in_transaction_session_timeout = 0;
SET idle_session_timeout = 0;
