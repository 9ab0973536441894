-- One row if ledger and partitions disagree, else no row: a landed window lacks its partition, or a partition belongs
-- to no landed window.
WITH partitions AS (
    SELECT
        d.dataset,
        count(i.inhrelid) AS partitions
    FROM control.datasets AS d
    INNER JOIN pg_catalog.pg_partitioned_table AS p ON to_regclass(d.published_table) = p.partrelid
    LEFT JOIN pg_catalog.pg_inherits AS i ON p.partrelid = i.inhparent AND NOT i.inhdetachpending
    GROUP BY d.dataset
),

landed AS (
    SELECT
        l.dataset,
        count(*) AS windows
    FROM ops.window_ledger AS l
    GROUP BY l.dataset
)

SELECT
    string_agg(
        p.dataset || ' has ' || coalesce(l.windows, 0) || ' landed windows and ' || p.partitions || ' partitions', '; '
        ORDER BY p.dataset
    ) AS problem
FROM partitions AS p
LEFT JOIN landed AS l USING (dataset)
WHERE p.partitions <> coalesce(l.windows, 0)
HAVING count(*) > 0;
