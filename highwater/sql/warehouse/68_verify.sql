-- Verifies published content: it is counted and hashed again and compared with the ledger. Results are kept, and a
-- difference opens an incident. Run as publisher; again is harmless.

-- The newest check of each window; of a dataset that is loaded by its changes, the newest of all.
CREATE OR REPLACE VIEW ops.newest_content_checks AS
SELECT
    c.dataset,
    c.window_range,
    c.landed_at,
    c.checked_at,
    c.problem,
    c.check_no
FROM ops.content_checks AS c
WHERE
    NOT EXISTS (
        SELECT FROM ops.content_checks AS n
        WHERE n.dataset = c.dataset AND n.window_range = c.window_range AND n.check_no > c.check_no
    )
    AND NOT EXISTS (
        SELECT FROM ops.content_checks AS n
        INNER JOIN control.datasets AS d USING (dataset)
        WHERE d.grid = 'watermark' AND n.dataset = c.dataset AND n.check_no > c.check_no
    );

-- How a landed window differs from its ledger row; null if it does not.
CREATE OR REPLACE FUNCTION ops.content_difference(p_landed ops.window_ledger) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    flaw text := ops.publishing_flaw(p_landed.dataset);
    published regclass;
    present regclass;
    held record;
    quarantined bigint;
BEGIN
    IF flaw IS NOT NULL THEN
        RETURN flaw;
    END IF;
    SELECT to_regclass(d.published_table) INTO published FROM control.datasets AS d WHERE d.dataset = p_landed.dataset;
    present := ops.partition_of(published, p_landed.window_range, TRUE);
    IF present IS NOT NULL THEN
        RETURN format(
            '%1$s is being detached, and queries do not see it: ALTER TABLE %2$s DETACH PARTITION %1$s FINALIZE, then'
            ' load the window again', present, published
        );
    END IF;
    present := ops.partition_of(published, p_landed.window_range);
    IF present IS NULL THEN
        RETURN format('%s rows have landed, but their partition is gone', p_landed.rows_published);
    END IF;
    -- A table of another owner might not be readable.
    flaw := ops.table_flaw(present);
    IF flaw IS NOT NULL THEN
        RETURN format('%s is not safe: %s', present, flaw);
    END IF;
    SELECT c.row_count, c.content_hash INTO held FROM ops.content_by_shape(present, p_landed.shape_id) AS c;
    SELECT count(*) INTO quarantined
    FROM quarantine.rejected_rows AS q
    WHERE q.dataset = p_landed.dataset AND q.window_range = p_landed.window_range;
    RETURN CASE
        WHEN held.row_count IS NULL THEN format('%s lacks a column that the window was landed with', present)
        WHEN held.row_count <> p_landed.rows_published
            THEN format('%s rows have landed, %s are in %s', p_landed.rows_published, held.row_count, present)
        WHEN held.content_hash <> p_landed.content_hash
            THEN format('the %s rows in %s are not those that landed', held.row_count, present)
        WHEN quarantined <> p_landed.rows_quarantined AND NOT EXISTS (
            SELECT FROM control.platform AS p WHERE p.refused_rows_since >= upper(p_landed.window_range)
        )
            THEN format('%s rows were quarantined, %s are in quarantine', p_landed.rows_quarantined, quarantined)
    END;
END;
$$;

-- How a dataset that is loaded by its changes differs from its checkpoint; null if it does not, or if the checkpoint
-- has no hash yet.
CREATE OR REPLACE FUNCTION ops.merged_difference(p_dataset text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    flaw CONSTANT text := ops.publishing_flaw(p_dataset);
    held record;
BEGIN
    IF flaw IS NOT NULL THEN
        RETURN flaw;
    END IF;
    SELECT * INTO held FROM ops.verify_merged(p_dataset);
    RETURN CASE
        WHEN held.rows_expected IS NULL THEN NULL
        WHEN held.rows_found <> held.rows_expected
            THEN format('%s rows were merged so far, %s are in the table', held.rows_expected, held.rows_found)
        WHEN held.hash_found <> held.hash_expected
            THEN format('the %s rows in the table are not those that were merged', held.rows_found)
    END;
END;
$$;

-- Compares a landed window with its ledger row, or a dataset that is loaded by its changes as a whole, and records the
-- result; returns the difference, null if equal. A version that is replaced meanwhile is checked again. It does
-- not wait for concurrent checks, nor use their results.
CREATE OR REPLACE FUNCTION ops.verify_window(p_dataset text, p_window tstzrange) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    landed ops.window_ledger;
    problem text;
    of_changes boolean;
    number bigint;
BEGIN
    PERFORM ops.assert_read_committed();
    SELECT d.grid = 'watermark' INTO of_changes FROM control.datasets AS d WHERE d.dataset = p_dataset;
    LOOP
        number := nextval(pg_get_serial_sequence('ops.content_checks', 'check_no'));
        SELECT * INTO landed FROM ops.window_ledger AS l WHERE l.dataset = p_dataset AND l.window_range = p_window;
        IF NOT found THEN
            RAISE EXCEPTION '% % has not landed: there is nothing to verify', p_dataset, p_window USING ERRCODE = 'HW008';
        END IF;
        BEGIN
            problem := CASE WHEN of_changes THEN ops.merged_difference(p_dataset) ELSE ops.content_difference(landed) END;
        EXCEPTION WHEN undefined_table OR undefined_column THEN
            GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT;
        END;
        EXIT WHEN problem IS NULL OR EXISTS (
            SELECT FROM ops.window_ledger AS l
            WHERE l.dataset = p_dataset AND l.window_range = p_window AND l.landed_at = landed.landed_at
                AND l.staged_as = landed.staged_as
        );
    END LOOP;
    INSERT INTO ops.content_checks (dataset, window_range, landed_at, checked_at, problem, check_no)
    VALUES (p_dataset, p_window, landed.landed_at, ops.clock(), problem, number);
    DELETE FROM ops.content_checks AS c
    USING (
        SELECT k.check_no FROM ops.content_checks AS k
        WHERE k.dataset = p_dataset AND (of_changes OR k.window_range = p_window) AND k.check_no < number
        FOR UPDATE SKIP LOCKED
    ) AS before
    WHERE c.dataset = p_dataset AND c.check_no = before.check_no;
    RETURN problem;
END;
$$;

-- Compares the stored sums of a dataset with its ledger, and records the result; returns the difference, null if
-- equal.
CREATE OR REPLACE FUNCTION ops.verify_months(p_dataset text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    number CONSTANT bigint := nextval(pg_get_serial_sequence('ops.month_checks', 'check_no'));
    problem text;
BEGIN
    PERFORM ops.assert_read_committed();
    SELECT CASE WHEN count(*) > 0 THEN format(
        'ops.ledger_months differs from the ledger in %s months, first %s',
        count(DISTINCT month), to_char(min(month), 'YYYY-MM')
    ) END INTO problem
    FROM (
        SELECT k.* FROM ops.ledger_months AS k
        WHERE
            k.dataset = p_dataset
            AND (k.landed, k.skipped, k.rows_extracted, k.rows_published, k.rows_quarantined, k.rows_deduplicated)
            IS DISTINCT FROM ('{}'::tstzmultirange, '{}'::tstzmultirange, 0::bigint, 0::bigint, 0::bigint, 0::bigint)
    ) AS m
    FULL JOIN (SELECT k.* FROM ops.counted_months AS k WHERE k.dataset = p_dataset) AS c USING (dataset, month, step)
    WHERE row(m.*) IS DISTINCT FROM row(c.*);
    INSERT INTO ops.month_checks (check_no, dataset, checked_at, problem)
    VALUES (number, p_dataset, ops.clock(), problem);
    DELETE FROM ops.month_checks AS c
    USING (
        SELECT k.check_no FROM ops.month_checks AS k
        WHERE k.dataset = p_dataset AND k.check_no < number
        FOR UPDATE SKIP LOCKED
    ) AS before
    WHERE c.check_no = before.check_no;
    RETURN problem;
END;
$$;

-- Partitions of a dataset's table that belong to no landed window, including those that are being detached.
CREATE OR REPLACE FUNCTION ops.unaccounted_partitions(p_dataset text) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    published regclass;
    key_type text;
BEGIN
    SELECT p.partrelid, format_type(a.atttypid, a.atttypmod) INTO published, key_type
    FROM control.datasets AS d
    INNER JOIN pg_partitioned_table AS p ON to_regclass(d.published_table) = p.partrelid
    INNER JOIN pg_attribute AS a ON p.partrelid = a.attrelid AND a.attnum = p.partattrs[0]
    WHERE d.dataset = p_dataset AND d.grid = 'fixed';
    IF found THEN
        RETURN QUERY EXECUTE format(
            $query$
                SELECT c.oid::regclass::text
                FROM pg_inherits AS i JOIN pg_class AS c ON i.inhrelid = c.oid
                WHERE i.inhparent = %1$s::regclass AND (i.inhdetachpending OR NOT EXISTS (
                    SELECT FROM ops.window_ledger AS l
                    WHERE l.dataset = %2$L AND pg_get_expr(c.relpartbound, c.oid) = format(
                        'FOR VALUES FROM (%%L) TO (%%L)', lower(l.window_range)::%3$s::text,
                        upper(l.window_range)::%3$s::text
                    )
                ))
                ORDER BY 1
            $query$, published::oid, p_dataset, key_type
        );
    END IF;
END;
$$;

-- One row per landed window whose content differs, until another version lands or a later check passes; and one per
-- dataset whose sums differ from its ledger, until a later check passes.
CREATE OR REPLACE VIEW ops.content_troubles AS
SELECT
    'content differs' AS kind,
    c.dataset AS subject,
    c.dataset,
    c.checked_at AS since,
    tstzmultirange(c.window_range) AS window_ranges
FROM ops.newest_content_checks AS c
INNER JOIN ops.window_ledger AS l USING (dataset, window_range)
WHERE c.problem IS NOT NULL AND c.landed_at = l.landed_at
UNION ALL
SELECT
    'sums differ' AS kind,
    c.dataset AS subject,
    c.dataset,
    c.checked_at AS since,
    '{}'::tstzmultirange AS window_ranges
FROM ops.month_checks AS c
WHERE
    c.problem IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM ops.month_checks AS n
        WHERE n.dataset = c.dataset AND n.check_no > c.check_no
    );

REVOKE EXECUTE ON FUNCTION ops.verify_window, ops.verify_months, ops.unaccounted_partitions FROM public;
GRANT EXECUTE ON FUNCTION ops.verify_window, ops.verify_months, ops.unaccounted_partitions TO loader, analyst;
GRANT SELECT ON ops.content_checks, ops.newest_content_checks, ops.month_checks, ops.content_troubles
TO loader, analyst;
