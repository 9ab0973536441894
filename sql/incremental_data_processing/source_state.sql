-- One row: the snapshot and the identity of the source. A restored or replaced source differs in server, timeline,
-- database, table or tombstones; a table that was rewritten or truncated in files, since its content may have changed
-- without a mark; a trigger that was off for a while in marks. file_seen is the table's file at the snapshot, file_now
-- the current one: if they differ, a read does not return the rows of the snapshot.
WITH wanted (relation, trigger_name) AS (
    VALUES ('shop.orders', 'mark_change'), ('shop.orders', 'mark_truncation'), ('shop.deleted_orders', NULL)
),

tables AS (
    SELECT
        w.relation,
        w.relation::regclass AS oid,
        pg_relation_filenode(w.relation::regclass)::bigint AS file_now,
        seen.relfilenode::bigint AS file_seen
    FROM (SELECT DISTINCT relation FROM wanted) AS w
    LEFT JOIN (
        SELECT
            n.nspname || '.' || c.relname AS relation,
            c.relfilenode
        FROM pg_class AS c
        INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
        WHERE n.nspname = 'shop'
    ) AS seen ON w.relation = seen.relation
),

files AS (
    SELECT
        jsonb_object_agg(relation, file_now) AS files,
        bool_or(file_now IS DISTINCT FROM file_seen) AS is_rewritten
    FROM tables
),

-- Altering a trigger rewrites its catalogue row, so switching it off and on again shows in xmin.
marks AS (
    SELECT
        jsonb_object_agg(w.trigger_name, coalesce(g.tgenabled::text || ' ' || g.xmin::text, 'missing')) AS marks,
        string_agg(
            'trigger ' || w.trigger_name || ' of ' || w.relation || ' is '
            || CASE g.tgenabled
                WHEN 'D' THEN 'disabled'
                WHEN 'O' THEN 'off for replicated and restored rows'
                WHEN 'R' THEN 'off but for replicated rows'
                ELSE 'missing'
            END
            || ': ALTER TABLE ' || w.relation || ' ENABLE ALWAYS TRIGGER ' || w.trigger_name, '; '
            ORDER BY w.trigger_name
        ) FILTER (WHERE g.tgenabled IS DISTINCT FROM 'A') AS flaw
    FROM wanted AS w
    LEFT JOIN pg_trigger AS g ON w.relation::regclass = g.tgrelid AND w.trigger_name = g.tgname
    WHERE w.trigger_name IS NOT NULL
),

orders AS (
    SELECT jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) AS columns
    FROM pg_attribute AS a
    WHERE a.attrelid = 'shop.orders'::regclass AND a.attnum > 0 AND NOT a.attisdropped
)

SELECT
    pg_current_snapshot()::text AS snapshot,
    coalesce(%(now)s::timestamptz, now()) AS moment,
    jsonb_build_object(
        'server', s.system_identifier::text,
        'timeline', c.timeline_id,
        'database', d.oid::bigint,
        'table', 'shop.orders'::regclass::oid::bigint,
        'tombstones', 'shop.deleted_orders'::regclass::oid::bigint,
        'columns', o.columns,
        'files', f.files,
        'marks', m.marks
    ) AS identity,
    f.is_rewritten,
    m.flaw
FROM pg_control_system() AS s
CROSS JOIN pg_control_checkpoint() AS c
INNER JOIN pg_database AS d ON d.datname = current_database()
CROSS JOIN orders AS o
CROSS JOIN files AS f
CROSS JOIN marks AS m;
