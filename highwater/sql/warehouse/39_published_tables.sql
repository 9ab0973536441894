-- What a published table must look like, and how a staged table is made like it. A set's clean table takes defaults,
-- generated columns, checks, keys and indexes of the published table; what cannot be copied is refused before any row
-- moves. Run as publisher; idempotent.

-- Why no dataset can be published into a table, with the way out; null where one can.
CREATE OR REPLACE FUNCTION ops.published_table_flaw(p_published regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN c.relowner <> 'publisher'::regrole
            THEN format('it belongs to %s: ALTER TABLE %s OWNER TO publisher', c.relowner::regrole, p_published)
        WHEN c.relispartition THEN (
            SELECT format(
                'it is a partition of %1$s and would be dropped with it: ALTER TABLE %1$s DETACH PARTITION %2$s',
                i.inhparent::regclass, p_published
            )
            FROM pg_inherits AS i WHERE i.inhrelid = p_published
        )
        WHEN c.relpersistence <> 'p' THEN 'it does not survive a crash: make it a logged table'
        WHEN c.relhasrules THEN 'it has a rule, which staged rows would bypass: drop the rule'
        WHEN referring.table_name IS NOT NULL THEN format(
            'table %s refers to it by a foreign key, so that no window can be replaced: drop that key',
            referring.table_name
        )
        WHEN EXISTS (
            SELECT FROM aclexplode(c.relacl) AS a
            WHERE a.grantee <> c.relowner AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
        )
            THEN 'others than the publisher may write to it: REVOKE INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER on it'
        WHEN n.nspname = ANY ('{staging,archive,quarantine,ops,control,setup,pg_catalog,information_schema}')
            THEN 'its schema is reserved for Highwater: move it to another'
        WHEN ops.columns_of(p_published) && '{reason,copy_no,source_row}'
            THEN 'a column is called reason, copy_no or source_row, which clean.sql uses for its verdicts: rename it'
    END
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    CROSS JOIN LATERAL (
        SELECT min(k.conrelid::regclass::text) AS table_name FROM pg_constraint AS k
        WHERE k.confrelid = p_published AND k.contype = 'f' AND k.conrelid <> p_published
    ) AS referring
    WHERE c.oid = p_published
$$;

-- Why windows of a fixed grid cannot be the partitions of a table, with the way out; null where they can.
CREATE OR REPLACE FUNCTION ops.partitioning_flaw(p_wanted control.datasets, p_published regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    SELECT CASE
        WHEN c.relkind <> 'p' THEN
            'it is not partitioned: make it PARTITION BY RANGE on the column that says when a row happened'
        WHEN p.partstrat <> 'r' THEN 'it is partitioned by list or hash: make it PARTITION BY RANGE on one column'
        WHEN p.partnatts > 1 THEN format(
            'it is partitioned by %s columns: make it PARTITION BY RANGE on one column', p.partnatts
        )
        WHEN p.partattrs[0] = 0 THEN
            'it is partitioned by an expression: make it PARTITION BY RANGE on a plain column'
        WHEN k.atttypid NOT IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) THEN format(
            'it is partitioned by column %I of type %s: expected timestamptz, timestamp or date',
            k.attname, format_type(k.atttypid, k.atttypmod)
        )
        WHEN k.atttypid = 'date'::regtype
            AND (
                mod(extract(EPOCH FROM p_wanted.step), 86400) <> 0
                OR p_wanted.first_window <> date_trunc('day', p_wanted.first_window)
            ) THEN format(
            'it is partitioned by the date %I, but windows of %s are not whole days in UTC: use a timestamptz',
            k.attname, p_wanted.dataset
        )
        WHEN p.partdefid <> 0 THEN format(
            'it has a DEFAULT partition %s, whose rows belong to no window: detach it', p.partdefid::regclass
        )
        WHEN own_trigger.tgname IS NOT NULL THEN format(
            'it has the trigger %I, which staged rows would bypass: drop the trigger', own_trigger.tgname
        )
    END
    FROM pg_class AS c
    LEFT JOIN pg_partitioned_table AS p ON c.oid = p.partrelid
    LEFT JOIN pg_attribute AS k ON p.partrelid = k.attrelid AND k.attnum = p.partattrs[0]
    CROSS JOIN LATERAL (
        SELECT min(t.tgname) AS tgname FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
    ) AS own_trigger
    WHERE c.oid = p_published
$$;

-- Why changes cannot be merged into a table, with the way out; null where they can.
CREATE OR REPLACE FUNCTION ops.merge_target_flaw(p_published regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN c.relkind <> 'r' THEN 'a dataset that is loaded by its changes needs a plain table'
        WHEN ops.primary_key_of(p_published::text) IS NULL THEN 'it has no primary key: add one'
        WHEN NOT ops.columns_of(p_published) @> '{deleted_at}' THEN
            'it has no column deleted_at (timestamptz, null while the row exists at the source): add it'
    END
    FROM pg_class AS c WHERE c.oid = p_published
$$;

-- Why a dataset cannot be published into its table, in one sentence with the way out; null where it can.
CREATE OR REPLACE FUNCTION ops.publishing_flaw(p_dataset text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    wanted control.datasets;
    published regclass;
BEGIN
    SELECT * INTO wanted FROM control.datasets AS d WHERE d.dataset = p_dataset;
    published := to_regclass(wanted.published_table);
    IF published IS NULL THEN
        RETURN format('table %s of dataset %s does not exist: create it', wanted.published_table, p_dataset);
    END IF;
    RETURN format('table %s of dataset %s cannot be published into: ', wanted.published_table, p_dataset) || coalesce(
        ops.published_table_flaw(published),
        CASE WHEN wanted.grid = 'fixed' THEN ops.partitioning_flaw(wanted, published) ELSE ops.merge_target_flaw(published) END
    );
END;
$$;

-- Refuses a dataset whose table cannot be published into.
CREATE OR REPLACE FUNCTION ops.assert_publishable(p_dataset text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    flaw CONSTANT text := ops.publishing_flaw(p_dataset);
BEGIN
    IF flaw IS NOT NULL THEN
        RAISE EXCEPTION '%', flaw USING ERRCODE = 'HW011';
    END IF;
END;
$$;

-- Adds to a filled table the keys, constraints and indexes of the published one that LIKE does not copy, so that
-- attaching it builds none. Their names derive from the table's own, which is unique.
CREATE OR REPLACE FUNCTION ops.add_keys_and_indexes(p_table regclass, p_published regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted record;
    before text;
BEGIN
    FOR wanted IN
        SELECT k.contype, pg_get_constraintdef(k.oid) AS definition
        FROM pg_constraint AS k
        WHERE k.conrelid = p_published AND k.contype IN ('p', 'u', 'x', 'f')
        ORDER BY k.contype <> 'p', k.oid
    LOOP
        EXECUTE format('ALTER TABLE %s ADD %s', p_table, wanted.definition);
    END LOOP;
    FOR wanted IN
        SELECT c.relname, i.indisunique, pg_get_indexdef(i.indexrelid) AS definition
        FROM pg_index AS i JOIN pg_class AS c ON i.indexrelid = c.oid
        WHERE
            i.indrelid = p_published
            AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.conrelid = p_published)
        ORDER BY i.indexrelid
    LOOP
        SELECT format(
            'CREATE %sINDEX %I ON %s%I.%I ', CASE WHEN wanted.indisunique THEN 'UNIQUE ' ELSE '' END, wanted.relname,
            CASE c.relkind WHEN 'p' THEN 'ONLY ' ELSE '' END, n.nspname, c.relname
        ) INTO before
        FROM pg_class AS c JOIN pg_namespace AS n ON c.relnamespace = n.oid WHERE c.oid = p_published;
        IF NOT starts_with(wanted.definition, before) THEN
            RAISE EXCEPTION 'index % of % cannot be copied: %', wanted.relname, p_published, wanted.definition
                USING ERRCODE = 'HW011';
        END IF;
        EXECUTE format(
            'CREATE %sINDEX ON %s %s', CASE WHEN wanted.indisunique THEN 'UNIQUE ' ELSE '' END, p_table,
            substr(wanted.definition, length(before) + 1)
        );
    END LOOP;
END;
$$;

-- Why a table is not wholly the publisher's own, or null: another owner, a way to lose its rows, another role with
-- rights on it (except p_reader), an option, or any dependent in the catalogue but its own columns, keys, indexes and
-- types.
CREATE OR REPLACE FUNCTION ops.table_flaw(p_table regclass, p_reader regrole DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN c.relkind <> 'r' THEN 'it is not a plain table'
        WHEN c.relowner <> 'publisher'::regrole THEN format('it belongs to %s', c.relowner::regrole)
        WHEN c.relpersistence <> 'p' THEN 'it does not survive a crash'
        WHEN c.reloptions IS NOT NULL THEN format('it has options: %s', c.reloptions)
        WHEN c.relrowsecurity THEN 'it has row security'
        WHEN c.relhasrules THEN 'it has a rule'
        WHEN EXISTS (
            SELECT FROM aclexplode(c.relacl) AS a
            WHERE a.grantee <> c.relowner AND a.grantee IS DISTINCT FROM p_reader
            UNION ALL
            SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL
        ) THEN 'another role has rights on it'
        WHEN EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) THEN 'it has a trigger'
        ELSE (
            SELECT format('%s depends on it', pg_describe_object(d.classid, d.objid, d.objsubid))
            FROM pg_depend AS d
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                AND NOT (
                    -- Triggers: those of its foreign keys; others are refused above.
                    d.classid IN (
                        'pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_type'::regclass, 'pg_trigger'::regclass
                    )
                    OR (
                        d.classid = 'pg_class'::regclass
                        AND (
                            d.objid = c.oid OR d.objid IN (SELECT i.indexrelid FROM pg_index AS i WHERE i.indrelid = c.oid)
                            OR d.objid = c.reltoastrelid
                        )
                    )
                )
            LIMIT 1
        )
    END
    FROM pg_class AS c WHERE c.oid = p_table
$$;

-- Refuses a table that is not wholly the publisher's own.
CREATE OR REPLACE FUNCTION ops.assert_own_table(p_table regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    flaw CONSTANT text := ops.table_flaw(p_table);
BEGIN
    IF flaw IS NOT NULL THEN
        RAISE EXCEPTION 'table % is refused: %', p_table, flaw USING ERRCODE = 'HW005';
    END IF;
END;
$$;

-- Lets the analyst read a staged or archived table of a dataset, if the analyst may read all that is published: every
-- column and, without row security, every row.
CREATE OR REPLACE FUNCTION ops.let_analyst_read(p_table regclass, p_dataset text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM control.datasets AS d JOIN pg_class AS c ON c.oid = to_regclass(d.published_table)
        WHERE d.dataset = p_dataset AND NOT c.relrowsecurity AND has_table_privilege('analyst', c.oid, 'SELECT')
    ) THEN
        EXECUTE format('GRANT SELECT ON %s TO analyst', p_table);
    END IF;
END;
$$;

-- Revokes the analyst's right to read staged and archived tables where the analyst may no longer read all of the
-- published table.
CREATE OR REPLACE FUNCTION ops.withdraw_reading() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unpublished record;
BEGIN
    FOR unpublished IN
        SELECT c.oid::regclass AS held_in
        FROM control.datasets AS d
        INNER JOIN pg_class AS p ON p.oid = to_regclass(d.published_table)
        CROSS JOIN LATERAL (
            SELECT to_regclass(format('archive.%I', v.table_name)) AS held_in
            FROM ops.former_versions AS v WHERE v.dataset = d.dataset
            UNION ALL
            SELECT ops.set_table(s.set_name, part) AS held_in
            FROM ops.staging_sets AS s CROSS JOIN unnest('{clean,rejected}'::text[]) AS part
            WHERE s.dataset = d.dataset
        ) AS a
        INNER JOIN pg_class AS c ON c.oid = a.held_in
        WHERE
            (p.relrowsecurity OR NOT has_table_privilege('analyst', p.oid, 'SELECT'))
            AND has_table_privilege('analyst', c.oid, 'SELECT')
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM analyst', unpublished.held_in);
    END LOOP;
END;
$$;

REVOKE EXECUTE ON FUNCTION
ops.withdraw_reading, ops.add_keys_and_indexes, ops.let_analyst_read
FROM public;
GRANT EXECUTE ON FUNCTION ops.assert_publishable TO loader, analyst;
