-- One row: what the source shows now, and which source it is. A restored or replaced one differs in server, timeline,
-- database or table.
SELECT
    pg_current_snapshot()::text AS snapshot,
    coalesce(%(now)s::timestamptz, now()) AS moment,
    jsonb_build_object(
        'server', s.system_identifier::text,
        'timeline', c.timeline_id,
        'database', d.oid::bigint,
        'table', t.oid::bigint,
        'columns', t.columns
    ) AS identity
FROM pg_control_system() AS s
CROSS JOIN pg_control_checkpoint() AS c
INNER JOIN pg_database AS d ON d.datname = current_database()
CROSS JOIN (
    SELECT
        a.attrelid AS oid,
        jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) AS columns
    FROM pg_attribute AS a
    WHERE a.attrelid = 'shop.orders'::regclass AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY a.attrelid
) AS t;
