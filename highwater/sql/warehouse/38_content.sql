-- The content of a table as a row count and a hash that does not depend on the order of rows, and the shape that was
-- hashed: a column that is added later makes no difference. Run as publisher; idempotent.

-- The columns of a table, in order.
CREATE OR REPLACE FUNCTION ops.columns_of(p_table regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_attribute AS a
    WHERE a.attrelid = p_table AND a.attnum > 0 AND NOT a.attisdropped
$$;

-- The columns of a table that an INSERT may name: all but generated ones.
CREATE OR REPLACE FUNCTION ops.written_columns_of(p_table regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_attribute AS a
    WHERE a.attrelid = p_table AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
$$;

-- The columns of a table's primary key in order, or null.
CREATE OR REPLACE FUNCTION ops.primary_key_of(p_table text) RETURNS text[]
LANGUAGE sql STABLE
RETURN (
    SELECT array_agg(a.attname::text ORDER BY k.place)
    FROM pg_catalog.pg_index AS i
    CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
    INNER JOIN pg_catalog.pg_attribute AS a ON i.indrelid = a.attrelid AND k.attnum = a.attnum
    WHERE i.indrelid = p_table::regclass AND i.indisprimary
);

-- A list of columns as SQL, each with a prefix: 't.a, t.b'.
CREATE OR REPLACE FUNCTION ops.column_list(p_columns text[], p_prefix text DEFAULT '') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT string_agg(p_prefix || quote_ident(c), ', ' ORDER BY place)
    FROM unnest(p_columns) WITH ORDINALITY AS listed (c, place)
);

-- Some columns of the row t as a row expression.
CREATE OR REPLACE FUNCTION ops.row_of(p_columns text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN format('row(%s)', ops.column_list(p_columns, 't.'));

-- Row count and content hash of a table over the given columns, by default all. Null if it lacks one of them.
-- A row is hashed as its text, which distinguishes 1.0 from 1.00; the settings that affect how values are written as
-- text are therefore fixed here.
CREATE OR REPLACE FUNCTION ops.table_content(
    p_table regclass,
    p_columns text[] DEFAULT NULL,
    p_linear boolean DEFAULT FALSE,
    OUT row_count bigint,
    OUT content_hash text
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET lc_monetary = 'C'
SET quote_all_identifiers = OFF
AS $$
DECLARE
    hashed CONSTANT text[] := coalesce(p_columns, ops.columns_of(p_table));
BEGIN
    IF NOT hashed <@ ops.columns_of(p_table) THEN
        RETURN;
    END IF;
    EXECUTE format(
        CASE WHEN p_linear THEN
            $query$
                SELECT count(*), md5(concat_ws(
                    ':', count(*), sum(hash_record_extended(%1$s, 0)::numeric), sum(hash_record_extended(%1$s, 1)::numeric)
                ))
                FROM %2$s AS t
            $query$
        ELSE
            -- OFFSET is a fence: the text of a row is built once.
            $query$
                SELECT count(*), md5(concat_ws(
                    ':', count(*), sum(hashtextextended(h.r, 0)::numeric), sum(hashtextextended(h.r, 1)::numeric)
                ))
                FROM (SELECT %1$s::text AS r FROM %2$s AS t OFFSET 0) AS h
            $query$
        END, ops.row_of(hashed), p_table
    ) INTO row_count, content_hash;
END;
$$;

-- The id of a shape: a list of columns and a way to hash them.
CREATE OR REPLACE FUNCTION ops.shape_of(p_columns text[], p_linear boolean DEFAULT FALSE) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known integer;
BEGIN
    SELECT s.shape_id INTO known
    FROM ops.shapes AS s WHERE s.hashed_columns = p_columns AND s.is_linear = p_linear;
    IF known IS NULL THEN
        INSERT INTO ops.shapes (hashed_columns, is_linear) VALUES (p_columns, p_linear)
        ON CONFLICT (hashed_columns, is_linear) DO NOTHING;
        SELECT s.shape_id INTO STRICT known
        FROM ops.shapes AS s WHERE s.hashed_columns = p_columns AND s.is_linear = p_linear;
    END IF;
    RETURN known;
END;
$$;

-- Row count and content hash of a table by a shape; null if the table lacks one of its columns.
CREATE OR REPLACE FUNCTION ops.content_by_shape(
    p_table regclass, p_shape integer, OUT row_count bigint, OUT content_hash text
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.row_count, c.content_hash
    FROM ops.shapes AS s CROSS JOIN LATERAL ops.table_content(p_table, s.hashed_columns, s.is_linear) AS c
    WHERE s.shape_id = p_shape
$$;

-- Refuses a transaction with an old snapshot: what counts rows must see all of them.
CREATE OR REPLACE FUNCTION ops.assert_read_committed() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'invalid isolation level %: expected READ COMMITTED, so that every row is counted',
            current_setting('transaction_isolation') USING ERRCODE = 'HW003';
    END IF;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.shape_of FROM public;
GRANT SELECT ON ops.shapes TO loader, analyst;
