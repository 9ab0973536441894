-- The content of tables that changes are merged into, as checkpoints record it. Run as publisher; idempotent.

-- Rows of a merged table, live ones among them, and sums of the hashes of some columns by two seeds; of all rows, or of
-- those whose key is in another table.
CREATE OR REPLACE FUNCTION ops.merged_content(
    p_table regclass,
    p_columns text[],
    p_keys text[] DEFAULT NULL,
    p_among regclass DEFAULT NULL,
    OUT row_count bigint,
    OUT live_rows bigint,
    OUT hash_sums numeric[]
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET lc_monetary = 'C'
SET quote_all_identifiers = OFF
AS $$
BEGIN
    EXECUTE format(
        $query$
            SELECT
                count(*), count(*) FILTER (WHERE t.deleted_at IS NULL),
                ARRAY[
                    coalesce(sum(hashtextextended(%2$s::text, 0)::numeric), 0),
                    coalesce(sum(hashtextextended(%2$s::text, 1)::numeric), 0)
                ]
            FROM %1$s AS t %3$s
        $query$, p_table, ops.row_of(p_columns),
        CASE WHEN p_among IS NOT NULL THEN
            format('JOIN %s AS c ON (%s) = (%s)', p_among, ops.column_list(p_keys, 't.'), ops.column_list(p_keys, 'c.'))
        END
    ) INTO row_count, live_rows, hash_sums;
END;
$$;

-- The hash that ops.table_content returns for a table with that row count and those sums.
CREATE OR REPLACE FUNCTION ops.hash_of_sums(p_row_count bigint, p_sums numeric[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE
    WHEN p_row_count > 0 THEN md5(concat_ws(':', p_row_count, p_sums[1], p_sums[2]))
    WHEN p_row_count = 0 THEN md5('0')
END;

-- What a merged table holds and what it held as of its checkpoint, both by one snapshot. Expected is null where that is
-- not known: before the first full run that recorded it. Columns added since make no difference.
CREATE OR REPLACE FUNCTION ops.verify_merged(
    p_dataset text,
    OUT rows_expected bigint,
    OUT rows_found bigint,
    OUT hash_expected text,
    OUT hash_found text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    published regclass;
    former ops.checkpoints;
    content record;
BEGIN
    SELECT d.published_table::regclass INTO published
    FROM control.datasets AS d WHERE d.dataset = p_dataset AND d.grid = 'watermark';
    IF NOT found THEN
        RAISE EXCEPTION '"%" is not a dataset that is loaded by its changes; expected one of %', p_dataset,
            (SELECT string_agg(d.dataset, ', ' ORDER BY d.dataset) FROM control.datasets AS d WHERE d.grid = 'watermark')
            USING ERRCODE = 'HW001';
    END IF;
    SELECT * INTO former FROM ops.checkpoints AS c WHERE c.dataset = p_dataset;
    SELECT * INTO content FROM ops.merged_content(published, (
        SELECT array_agg(c ORDER BY place)
        FROM unnest(coalesce(former.hashed_columns, ops.columns_of(published))) WITH ORDINALITY AS listed (c, place)
        WHERE c = ANY (ops.columns_of(published))
    ));
    rows_expected := former.published_rows;
    rows_found := content.row_count;
    hash_expected := ops.hash_of_sums(former.published_rows, former.hash_sums);
    hash_found := ops.hash_of_sums(content.row_count, content.hash_sums);
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.merged_content, ops.verify_merged FROM public;
GRANT EXECUTE ON FUNCTION ops.verify_merged TO loader, analyst, operator;
