-- What a session of Highwater's is, whatever ALTER ROLE ... SET, ALTER DATABASE ... SET or its environment say.
-- Runs as the first statement of every session, and again after each DISCARD ALL; the path of names is set before it,
-- so that nothing here resolves to anybody's object.
SET ROLE NONE;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';
SET client_encoding = 'UTF8';
SET standard_conforming_strings = ON;
SET bytea_output = 'hex';
SET extra_float_digits = 1;
SET xmloption = 'content';
SET lc_monetary = 'C';
SET lc_numeric = 'C';
SET lc_time = 'C';
SET array_nulls = ON;
SET transform_null_equals = OFF;
SET check_function_bodies = ON;
SET row_security = ON;
SET geqo = ON;
SET default_transaction_isolation = 'read committed';
SET default_transaction_read_only = OFF;
SET default_transaction_deferrable = OFF;
SET default_table_access_method = 'heap';
SET idle_in_transaction_session_timeout = 0;
SET idle_session_timeout = 0;
