-- Whether a former version of a window can be restored: the published table may have other columns and rules by now.
-- The preview and the rollback use the same checks. Run as publisher; idempotent.

-- Whether an expression has the same value for every row at any time: it calls only immutable functions and reads
-- neither the session nor a sequence.
CREATE OR REPLACE FUNCTION ops.is_constant(p_expression pg_node_tree) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        p_expression::text !~ '\{(SQLVALUEFUNCTION|NEXTVALUEEXPR|COERCEVIAIO|VAR|PARAM|SUBLINK)'
        AND NOT EXISTS (
            SELECT FROM regexp_matches(p_expression::text, ':(?:op)?funcid (\d+)', 'g') AS called (oid)
            LEFT JOIN pg_proc AS f ON called.oid[1]::oid = f.oid
            WHERE f.provolatile IS DISTINCT FROM 'i'
        )
$$;

-- The columns of a published table that a table of former rows lacks, each with the value that such a row has there:
-- null, the default, or the generating expression. Without is_known that value cannot be determined.
CREATE OR REPLACE FUNCTION ops.columns_since(p_table regclass, p_published regclass)
RETURNS TABLE (name text, column_type text, is_computed boolean, value text, is_known boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        a.attname::text,
        format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END,
        a.attgenerated <> '',
        coalesce(pg_get_expr(d.adbin, d.adrelid), 'NULL'),
        a.attidentity = '' AND (d.adbin IS NULL OR a.attgenerated = 's' OR ops.is_constant(d.adbin))
    FROM pg_attribute AS a
    INNER JOIN pg_type AS t ON a.atttypid = t.oid
    LEFT JOIN pg_attrdef AS d ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE
        a.attrelid = p_published AND a.attnum > 0 AND NOT a.attisdropped
        AND NOT EXISTS (
            SELECT FROM pg_attribute AS mine
            WHERE mine.attrelid = p_table AND mine.attname = a.attname AND NOT mine.attisdropped
        )
    ORDER BY a.attnum
$$;

-- SQL to select the rows of a former version from, with the columns that the published table has gained since.
CREATE OR REPLACE FUNCTION ops.rows_as_published(p_table regclass, p_published regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format(
        '(SELECT f.* %s FROM (SELECT o.* %s FROM %s AS o) AS f)',
        string_agg(format(', (%s)::%s AS %I', c.value, c.column_type, c.name), '') FILTER (WHERE c.is_computed),
        string_agg(format(', (%s)::%s AS %I', c.value, c.column_type, c.name), '') FILTER (WHERE NOT c.is_computed),
        p_table
    )
    FROM ops.columns_since(p_table, p_published) AS c
$$;

-- The columns that keep a former version from being restored, with the reason where it is not obvious; null if none.
CREATE OR REPLACE FUNCTION ops.unfit_columns(p_table regclass, p_published regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(u.said, ', ' ORDER BY u.said)
    FROM (
        SELECT mine.attname AS said
        FROM pg_attribute AS mine
        LEFT JOIN pg_attribute AS theirs
            ON theirs.attrelid = p_published AND mine.attname = theirs.attname AND NOT theirs.attisdropped
        WHERE
            mine.attrelid = p_table AND mine.attnum > 0 AND NOT mine.attisdropped
            AND (mine.atttypid, mine.atttypmod, mine.attcollation, mine.attgenerated)
            IS DISTINCT FROM (theirs.atttypid, theirs.atttypmod, theirs.attcollation, theirs.attgenerated)
        UNION ALL
        SELECT format('%s, whose value %s is not constant', c.name, c.value)
        FROM ops.columns_since(p_table, p_published) AS c
        WHERE NOT c.is_known
    ) AS u
$$;

-- The first rule of the published table that the rows of a former version break; null if they break none.
CREATE OR REPLACE FUNCTION ops.rule_broken(p_table regclass, p_published regclass) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rows_of CONSTANT text := ops.rows_as_published(p_table, p_published);
    rule record;
    is_broken boolean;
BEGIN
    FOR rule IN
        SELECT format('check constraint %I', k.conname) AS name, format('NOT (%s)', pg_get_expr(k.conbin, k.conrelid)) AS broken
        FROM pg_constraint AS k WHERE k.conrelid = p_published AND k.contype = 'c'
        UNION ALL
        SELECT format('NOT NULL of column %I', a.attname) AS name, format('t.%I IS NULL', a.attname) AS broken
        FROM pg_attribute AS a
        WHERE a.attrelid = p_published AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped
        UNION ALL
        SELECT
            format('foreign key %I', k.conname) AS name,
            format(
                '(%s) AND NOT EXISTS (SELECT FROM %s AS referred WHERE (%s) = (%s))',
                string_agg(format('t.%I IS NOT NULL', mine.attname), ' AND '), k.confrelid::regclass,
                string_agg(format('referred.%I', theirs.attname), ', ' ORDER BY pair.place),
                string_agg(format('t.%I', mine.attname), ', ' ORDER BY pair.place)
            ) AS broken
        FROM pg_constraint AS k
        CROSS JOIN LATERAL unnest(k.conkey, k.confkey) WITH ORDINALITY AS pair (mine, theirs, place)
        INNER JOIN pg_attribute AS mine ON mine.attrelid = k.conrelid AND mine.attnum = pair.mine
        INNER JOIN pg_attribute AS theirs ON theirs.attrelid = k.confrelid AND theirs.attnum = pair.theirs
        WHERE k.conrelid = p_published AND k.contype = 'f' AND has_table_privilege(k.confrelid, 'SELECT')
        GROUP BY k.oid, k.conname, k.confrelid
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s AS t WHERE %s)', rows_of, rule.broken) INTO is_broken;
        IF is_broken THEN
            RETURN rule.name;
        END IF;
    END LOOP;
    FOR rule IN
        SELECT
            format('unique index %s', i.indexrelid::regclass) AS name,
            coalesce(pg_get_expr(i.indpred, i.indrelid), 'TRUE') AS covered,
            string_agg(pg_get_indexdef(i.indexrelid, part, TRUE), ', ') AS keys,
            CASE WHEN i.indnullsnotdistinct THEN 'TRUE'
                ELSE string_agg(format('(%s) IS NOT NULL', pg_get_indexdef(i.indexrelid, part, TRUE)), ' AND ')
            END AS is_distinct
        FROM pg_index AS i CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) AS part
        WHERE i.indrelid = p_published AND i.indisunique
        GROUP BY i.indexrelid, i.indrelid, i.indpred, i.indnullsnotdistinct
    LOOP
        EXECUTE format(
            'SELECT EXISTS (SELECT FROM %s AS t WHERE (%s) AND (%s) GROUP BY %s HAVING count(*) > 1)',
            rows_of, rule.covered, rule.is_distinct, rule.keys
        ) INTO is_broken;
        IF is_broken THEN
            RETURN rule.name;
        END IF;
    END LOOP;
    RETURN NULL;
END;
$$;

-- Refuses to restore a former version that was changed, or no longer fits the published table.
CREATE OR REPLACE FUNCTION ops.assert_fits(p_wanted control.datasets, p_version ops.former_versions) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    published CONSTANT regclass := p_wanted.published_table::regclass;
    held_in CONSTANT regclass := to_regclass(format('archive.%I', p_version.table_name));
    flaw text;
    held record;
BEGIN
    PERFORM ops.assert_publishable(p_wanted.dataset);
    flaw := ops.table_flaw(held_in, 'analyst');
    IF flaw IS NOT NULL THEN
        RAISE EXCEPTION '% %: version % in table % cannot be restored: %: correct that, or load the window again',
            p_version.dataset, p_version.window_range, p_version.version, held_in, flaw USING ERRCODE = 'HW005';
    END IF;
    flaw := ops.unfit_columns(held_in, published);
    IF flaw IS NOT NULL THEN
        RAISE EXCEPTION '% %: version % no longer fits %, whose columns changed since (%): load it again',
            p_version.dataset, p_version.window_range, p_version.version, published, flaw USING ERRCODE = 'HW008';
    END IF;
    SELECT c.row_count, c.content_hash INTO held FROM ops.content_by_shape(held_in, p_version.shape_id) AS c;
    IF held.row_count IS DISTINCT FROM p_version.rows_published THEN
        RAISE EXCEPTION '% %: % no longer holds version % (% rows, expected %): load it again', p_version.dataset,
            p_version.window_range, held_in, p_version.version, coalesce(held.row_count, 0), p_version.rows_published
            USING ERRCODE = 'HW008';
    ELSIF held.content_hash <> p_version.content_hash THEN
        RAISE EXCEPTION '% %: % no longer holds version % (as many rows, but a value or a type changed): '
            'load it again', p_version.dataset, p_version.window_range, held_in, p_version.version USING ERRCODE = 'HW008';
    END IF;
    flaw := ops.rule_broken(held_in, published);
    IF flaw IS NOT NULL THEN
        RAISE EXCEPTION '% %: version % no longer fits %: its rows break the %: load it again', p_version.dataset,
            p_version.window_range, p_version.version, published, flaw USING ERRCODE = 'HW008';
    END IF;
END;
$$;

-- Adds to a table of former rows, which ops.assert_fits has passed, the columns, checks and NOT NULLs that the
-- published one has gained since.
CREATE OR REPLACE FUNCTION ops.make_fit(p_table regclass, p_published regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted record;
BEGIN
    -- Generated columns come last: they may depend on another new column.
    FOR wanted IN SELECT * FROM ops.columns_since(p_table, p_published) AS c ORDER BY c.is_computed LOOP
        EXECUTE format(
            CASE WHEN wanted.is_computed THEN 'ALTER TABLE %s ADD COLUMN %I %s GENERATED ALWAYS AS (%s) STORED'
                ELSE 'ALTER TABLE %s ADD COLUMN %I %s DEFAULT %s' END,
            p_table, wanted.name, wanted.column_type, wanted.value
        );
    END LOOP;
    FOR wanted IN
        SELECT
            CASE WHEN mine.conname IS NOT NULL THEN format('DROP CONSTRAINT %I, ', k.conname) ELSE '' END
            || format('ADD CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)) AS change
        FROM pg_constraint AS k
        LEFT JOIN pg_constraint AS mine ON mine.conrelid = p_table AND mine.contype = 'c' AND mine.conname = k.conname
        WHERE
            k.conrelid = p_published AND k.contype = 'c'
            AND pg_get_constraintdef(k.oid) IS DISTINCT FROM pg_get_constraintdef(mine.oid)
        UNION ALL
        SELECT format('ALTER COLUMN %I SET NOT NULL', a.attname) AS change
        FROM pg_attribute AS a JOIN pg_attribute AS mine ON mine.attrelid = p_table AND mine.attname = a.attname
        WHERE a.attrelid = p_published AND a.attnum > 0 AND a.attnotnull AND NOT mine.attnotnull
    LOOP
        EXECUTE format('ALTER TABLE %s %s', p_table, wanted.change);
    END LOOP;
END;
$$;

REVOKE EXECUTE ON FUNCTION
ops.is_constant, ops.columns_since, ops.rows_as_published, ops.unfit_columns, ops.rule_broken, ops.assert_fits,
ops.make_fit
FROM public;
