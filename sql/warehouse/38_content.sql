-- The content of a table as a number of rows and a hash, whatever the order of the rows, and the shape that the hash
-- was taken over: a column that is added later is no difference. Run as publisher; again is harmless.

-- One row a list of columns, in the order they are hashed in.
CREATE TABLE IF NOT EXISTS ops.shapes (
    shape_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hashed_columns text[] NOT NULL UNIQUE
);

COMMENT ON TABLE ops.shapes IS 'The columns that a content hash was taken over, in order';

-- The columns of a table, in order.
CREATE OR REPLACE FUNCTION ops.columns_of(p_table regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_attribute AS a
    WHERE a.attrelid = p_table AND a.attnum > 0 AND NOT a.attisdropped
$$;

-- The columns of a table that an INSERT may name: all but those that are computed.
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

-- A list of columns as SQL, each behind a prefix: 't.a, t.b'.
CREATE OR REPLACE FUNCTION ops.column_list(p_columns text[], p_prefix text DEFAULT '') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT string_agg(p_prefix || quote_ident(c), ', ' ORDER BY place)
    FROM unnest(p_columns) WITH ORDINALITY AS listed (c, place)
);

-- Whether Postgres can hash rows with values of a type: not of json, money, point, bit and the like.
CREATE OR REPLACE FUNCTION ops.is_hashable(p_type oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('SELECT hash_record_extended(row(NULL::%s), 0)', format_type(p_type, -1));
    RETURN TRUE;
EXCEPTION WHEN undefined_function THEN
    RETURN FALSE;
END;
$$;

-- The row t of a table as an expression that can be hashed: its values, those that Postgres cannot hash as text.
CREATE OR REPLACE FUNCTION ops.hashable_row(p_table regclass, p_columns text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('row(%s)', string_agg(
        format('t.%I', a.attname) || CASE WHEN ops.is_hashable(a.atttypid) THEN '' ELSE '::text' END, ', ' ORDER BY c.place
    ))
    FROM unnest(p_columns) WITH ORDINALITY AS c (attname, place)
    INNER JOIN pg_attribute AS a ON a.attrelid = p_table AND c.attname = a.attname::text AND NOT a.attisdropped
$$;

-- Rows and content hash of a table over the given columns, over all if none are given. Null where it lacks one of them.
-- What values look like as text must not depend on the session.
DROP FUNCTION IF EXISTS ops.table_content(regclass);
CREATE OR REPLACE FUNCTION ops.table_content(
    p_table regclass, p_columns text[] DEFAULT NULL, OUT row_count bigint, OUT content_hash text
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET lc_monetary = 'C'
AS $$
DECLARE
    hashed CONSTANT text[] := coalesce(p_columns, ops.columns_of(p_table));
BEGIN
    IF NOT hashed <@ ops.columns_of(p_table) THEN
        RETURN;
    END IF;
    EXECUTE format(
        $query$
            SELECT count(*), md5(concat_ws(
                ':', count(*), sum(hash_record_extended(%1$s, 0)::numeric), sum(hash_record_extended(%1$s, 1)::numeric)
            ))
            FROM %2$s AS t
        $query$, ops.hashable_row(p_table, hashed), p_table
    ) INTO row_count, content_hash;
END;
$$;

-- The number of a list of columns.
CREATE OR REPLACE FUNCTION ops.shape_of(p_columns text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known integer;
BEGIN
    SELECT s.shape_id INTO known FROM ops.shapes AS s WHERE s.hashed_columns = p_columns;
    IF known IS NULL THEN
        INSERT INTO ops.shapes (hashed_columns) VALUES (p_columns) ON CONFLICT (hashed_columns) DO NOTHING;
        SELECT s.shape_id INTO STRICT known FROM ops.shapes AS s WHERE s.hashed_columns = p_columns;
    END IF;
    RETURN known;
END;
$$;

ALTER TABLE ops.window_ledger
ADD COLUMN IF NOT EXISTS shape_id integer REFERENCES ops.shapes;

COMMENT ON COLUMN ops.window_ledger.shape_id IS 'The columns that content_hash was taken over';

-- Windows that landed before shapes were kept: in the shape that their table has now.
WITH present AS MATERIALIZED (
    SELECT
        d.dataset,
        ops.shape_of(ops.columns_of(to_regclass(d.published_table))) AS shape_id
    FROM control.datasets AS d
    WHERE
        to_regclass(d.published_table) IS NOT NULL
        AND EXISTS (
            SELECT FROM ops.window_ledger AS l
            WHERE l.dataset = d.dataset AND l.shape_id IS NULL
        )
)

UPDATE ops.window_ledger AS l
SET shape_id = p.shape_id
FROM present AS p
WHERE l.shape_id IS NULL AND l.dataset = p.dataset;

REVOKE EXECUTE ON FUNCTION ops.shape_of FROM public;
GRANT SELECT ON ops.shapes TO loader, analyst;
