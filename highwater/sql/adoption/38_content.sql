-- Windows that landed before shapes were kept get the shape that their table has now.
WITH present AS MATERIALIZED (
    SELECT
        d.dataset,
        ops.shape_of(ops.columns_of(to_regclass(d.published_table)), TRUE) AS shape_id
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

-- Former versions that were kept before shapes get the shape of their own table.
UPDATE ops.former_versions AS v
SET shape_id = ops.shape_of(ops.columns_of(to_regclass(format('archive.%I', v.table_name))), TRUE)
WHERE v.shape_id IS NULL AND to_regclass(format('archive.%I', v.table_name)) IS NOT NULL;
