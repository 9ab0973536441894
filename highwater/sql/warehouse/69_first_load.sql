-- A first start is not an outage: the windows that were due when a dataset was registered are its history, and missing
-- until their first load. Run as publisher; again is harmless.

-- Records that a new dataset's history is to be loaded.

CREATE OR REPLACE FUNCTION ops.begin_first_load() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO ops.first_loads (dataset, known_since, history_until)
    VALUES (new.dataset, ops.clock(), control.due_until(new, ops.clock()))
    ON CONFLICT (dataset) DO NOTHING;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER first_load_begins AFTER INSERT ON control.datasets
FOR EACH ROW WHEN (new.grid = 'fixed') EXECUTE FUNCTION ops.begin_first_load();

-- One row per dataset whose history is being loaded: the part that has not landed.
CREATE OR REPLACE VIEW ops.history_to_load AS
SELECT
    f.dataset,
    range_agg(g.window_range * tstzrange(NULL, f.history_until)) AS window_ranges
FROM ops.first_loads AS f
INNER JOIN ops.gaps AS g USING (dataset)
WHERE f.loaded_at IS NULL AND g.gap_start < f.history_until
GROUP BY f.dataset;

-- Ends the first loads whose history has landed: what is missing after that is an outage.
CREATE OR REPLACE FUNCTION ops.end_first_loads() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE ops.first_loads AS f SET loaded_at = ops.clock()
    WHERE f.loaded_at IS NULL AND f.dataset NOT IN (SELECT h.dataset FROM ops.history_to_load AS h)
$$;

REVOKE EXECUTE ON FUNCTION ops.begin_first_load, ops.end_first_loads FROM public;
GRANT SELECT ON ops.first_loads, ops.history_to_load TO loader, analyst;
