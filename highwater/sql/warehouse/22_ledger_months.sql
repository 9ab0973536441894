-- A rollup of the ledger by month, so that totals and gaps of a million windows cost no more than those of its months.
-- Triggers update it in the transaction that changes the ledger or the skipped windows. Run as publisher; idempotent.

-- What the rollup must be, computed from every row: the definition that the triggers follow.
CREATE OR REPLACE VIEW ops.counted_months AS
SELECT
    k.dataset,
    k.month,
    k.step,
    coalesce(range_agg(k.window_range) FILTER (WHERE k.has_landed), '{}'::tstzmultirange) AS landed,
    coalesce(range_agg(k.window_range) FILTER (WHERE NOT k.has_landed), '{}'::tstzmultirange) AS skipped,
    sum(k.rows_extracted)::bigint AS rows_extracted,
    sum(k.rows_published)::bigint AS rows_published,
    sum(k.rows_quarantined)::bigint AS rows_quarantined,
    sum(k.rows_deduplicated)::bigint AS rows_deduplicated
FROM (
    SELECT
        l.dataset,
        date_trunc('month', lower(l.window_range), 'UTC') AS month,
        CASE d.grid WHEN 'fixed' THEN upper(l.window_range) - lower(l.window_range) ELSE '0'::interval END AS step,
        TRUE AS has_landed,
        l.window_range,
        l.rows_extracted,
        l.rows_published,
        l.rows_quarantined,
        l.rows_deduplicated
    FROM ops.window_ledger AS l
    INNER JOIN control.datasets AS d USING (dataset)
    UNION ALL
    SELECT
        s.dataset,
        date_trunc('month', lower(s.window_range), 'UTC') AS month,
        upper(s.window_range) - lower(s.window_range) AS step,
        FALSE AS has_landed,
        s.window_range,
        0 AS rows_extracted,
        0 AS rows_published,
        0 AS rows_quarantined,
        0 AS rows_deduplicated
    FROM ops.skipped_windows AS s
) AS k
GROUP BY k.dataset, k.month, k.step;

-- Updates the rollup by what a statement removed from the ledger and added to it. No two windows of a dataset overlap,
-- so that ranges can be added and subtracted.
CREATE OR REPLACE FUNCTION ops.keep_landed_months() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        UPDATE ops.ledger_months AS m
        SET
            landed = m.landed - g.window_ranges,
            rows_extracted = m.rows_extracted - g.rows_extracted,
            rows_published = m.rows_published - g.rows_published,
            rows_quarantined = m.rows_quarantined - g.rows_quarantined,
            rows_deduplicated = m.rows_deduplicated - g.rows_deduplicated
        FROM (
            SELECT
                k.dataset,
                date_trunc('month', lower(k.window_range), 'UTC') AS month,
                CASE d.grid WHEN 'fixed' THEN upper(k.window_range) - lower(k.window_range) ELSE '0'::interval END AS step,
                range_agg(k.window_range) AS window_ranges,
                sum(k.rows_extracted) AS rows_extracted,
                sum(k.rows_published) AS rows_published,
                sum(k.rows_quarantined) AS rows_quarantined,
                sum(k.rows_deduplicated) AS rows_deduplicated
            FROM gone AS k
            INNER JOIN control.datasets AS d USING (dataset)
            GROUP BY 1, 2, 3
        ) AS g
        WHERE m.dataset = g.dataset AND m.month = g.month AND m.step = g.step;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO ops.ledger_months AS m (
            dataset, month, step, landed, rows_extracted, rows_published, rows_quarantined, rows_deduplicated
        )
        SELECT
            k.dataset,
            date_trunc('month', lower(k.window_range), 'UTC'),
            CASE d.grid WHEN 'fixed' THEN upper(k.window_range) - lower(k.window_range) ELSE '0'::interval END,
            range_agg(k.window_range),
            sum(k.rows_extracted),
            sum(k.rows_published),
            sum(k.rows_quarantined),
            sum(k.rows_deduplicated)
        FROM come AS k
        INNER JOIN control.datasets AS d USING (dataset)
        GROUP BY 1, 2, 3
        ORDER BY 1, 2, 3
        ON CONFLICT (dataset, month, step) DO UPDATE SET
            landed = m.landed + excluded.landed,
            rows_extracted = m.rows_extracted + excluded.rows_extracted,
            rows_published = m.rows_published + excluded.rows_published,
            rows_quarantined = m.rows_quarantined + excluded.rows_quarantined,
            rows_deduplicated = m.rows_deduplicated + excluded.rows_deduplicated;
    ELSIF TG_OP = 'TRUNCATE' THEN
        UPDATE ops.ledger_months AS m
        SET landed = '{}', rows_extracted = 0, rows_published = 0, rows_quarantined = 0, rows_deduplicated = 0;
    END IF;
    RETURN NULL;
END;
$$;

-- The same for skipped windows.
CREATE OR REPLACE FUNCTION ops.keep_skipped_months() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        UPDATE ops.ledger_months AS m
        SET skipped = m.skipped - g.window_ranges
        FROM (
            SELECT
                k.dataset,
                date_trunc('month', lower(k.window_range), 'UTC') AS month,
                upper(k.window_range) - lower(k.window_range) AS step,
                range_agg(k.window_range) AS window_ranges
            FROM gone AS k
            GROUP BY 1, 2, 3
        ) AS g
        WHERE m.dataset = g.dataset AND m.month = g.month AND m.step = g.step;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO ops.ledger_months AS m (dataset, month, step, skipped)
        SELECT
            k.dataset,
            date_trunc('month', lower(k.window_range), 'UTC'),
            upper(k.window_range) - lower(k.window_range),
            range_agg(k.window_range)
        FROM come AS k
        GROUP BY 1, 2, 3
        ORDER BY 1, 2, 3
        ON CONFLICT (dataset, month, step) DO UPDATE SET skipped = m.skipped + excluded.skipped;
    ELSIF TG_OP = 'TRUNCATE' THEN
        UPDATE ops.ledger_months AS m SET skipped = '{}';
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER landed_months_come AFTER INSERT ON ops.window_ledger
REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION ops.keep_landed_months();
CREATE OR REPLACE TRIGGER landed_months_change AFTER UPDATE ON ops.window_ledger
REFERENCING OLD TABLE AS gone NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION ops.keep_landed_months();
CREATE OR REPLACE TRIGGER landed_months_go AFTER DELETE ON ops.window_ledger
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION ops.keep_landed_months();
CREATE OR REPLACE TRIGGER landed_months_end AFTER TRUNCATE ON ops.window_ledger
FOR EACH STATEMENT EXECUTE FUNCTION ops.keep_landed_months();
CREATE OR REPLACE TRIGGER skipped_months_come AFTER INSERT ON ops.skipped_windows
REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION ops.keep_skipped_months();
CREATE OR REPLACE TRIGGER skipped_months_change AFTER UPDATE ON ops.skipped_windows
REFERENCING OLD TABLE AS gone NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION ops.keep_skipped_months();
CREATE OR REPLACE TRIGGER skipped_months_go AFTER DELETE ON ops.skipped_windows
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION ops.keep_skipped_months();
CREATE OR REPLACE TRIGGER skipped_months_end AFTER TRUNCATE ON ops.skipped_windows
FOR EACH STATEMENT EXECUTE FUNCTION ops.keep_skipped_months();

-- Recounts the rollup of a dataset; no window lands or is skipped meanwhile.
CREATE OR REPLACE FUNCTION ops.recount_months(p_dataset text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    LOCK TABLE ops.ledger_months IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM ops.ledger_months AS m WHERE m.dataset = p_dataset;
    INSERT INTO ops.ledger_months SELECT c.* FROM ops.counted_months AS c WHERE c.dataset = p_dataset;
END;
$$;

-- Recounts the rollup of a dataset whose grid changed: the step of its windows depends on the grid.
CREATE OR REPLACE FUNCTION ops.count_months_again() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM ops.recount_months(NEW.dataset);
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER months_are_counted_again AFTER UPDATE OF grid ON control.datasets
FOR EACH ROW WHEN (old.grid IS DISTINCT FROM new.grid) EXECUTE FUNCTION ops.count_months_again();

-- The ranges of a dataset that landed or are skipped as windows of its grid; anyhow also has those of a former grid.
-- Covers at least the windows that begin in p_within, and reads only their months.
CREATE OR REPLACE FUNCTION ops.accounted_within(
    wanted control.datasets,
    p_within tstzrange,
    OUT landed tstzmultirange,
    OUT skipped tstzmultirange,
    OUT anyhow tstzmultirange
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT
        coalesce(range_agg(s.span) FILTER (WHERE s.has_landed AND (s.is_on_grid OR wanted.grid = 'watermark')), '{}'),
        coalesce(range_agg(s.span) FILTER (WHERE NOT s.has_landed AND s.is_on_grid), '{}'),
        coalesce(range_agg(s.span), '{}')
    INTO landed, skipped, anyhow
    FROM (
        SELECT
            k.span,
            k.has_landed,
            m.step = wanted.step AND date_bin(wanted.step, lower(k.span), wanted.first_window) = lower(k.span)
                AS is_on_grid
        FROM ops.ledger_months AS m
        CROSS JOIN LATERAL (
            SELECT l.span, TRUE AS has_landed FROM unnest(m.landed) AS l (span)
            UNION ALL
            SELECT l.span, FALSE AS has_landed FROM unnest(m.skipped) AS l (span)
        ) AS k
        WHERE
            m.dataset = wanted.dataset
            AND (
                -- Windows that began long before may reach into p_within.
                wanted.grid = 'watermark'
                OR (
                    m.month >= date_trunc('month', coalesce(lower(p_within), '-infinity'), 'UTC')
                    AND m.month <= coalesce(upper(p_within), 'infinity')
                )
            )
    ) AS s;
    IF wanted.grid = 'watermark' THEN
        landed := control.windows_within(wanted, landed);
    END IF;
END;
$$;

-- The same for all time.
CREATE OR REPLACE FUNCTION ops.accounted_for(
    wanted control.datasets, OUT landed tstzmultirange, OUT skipped tstzmultirange, OUT anyhow tstzmultirange
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT * INTO landed, skipped, anyhow FROM ops.accounted_within(wanted, '(,)');
END;
$$;

-- The number of windows of the dataset's grid in ranges of whole windows.
CREATE OR REPLACE FUNCTION control.windows_in(wanted control.datasets, ranges tstzmultirange) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$
    SELECT coalesce(extract(EPOCH FROM sum(upper(s) - lower(s))) / extract(EPOCH FROM wanted.step), 0)::bigint
    FROM unnest(ranges) AS s
$$;

REVOKE EXECUTE ON FUNCTION
ops.keep_landed_months, ops.keep_skipped_months, ops.recount_months, ops.count_months_again, ops.accounted_within,
ops.accounted_for
FROM public;
GRANT EXECUTE ON FUNCTION ops.accounted_within, ops.accounted_for TO loader, analyst;
GRANT SELECT ON ops.ledger_months, ops.counted_months TO loader, analyst;
