-- A first start is no outage: the windows that were due when a dataset became known are its history, and missing until
-- they have been loaded for the first time. Run as publisher; again is harmless.

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

-- One row a dataset whose history is being loaded: what of it is still to land.
CREATE OR REPLACE VIEW ops.history_to_load AS
SELECT
    f.dataset,
    range_agg(g.window_range * tstzrange(NULL, f.history_until)) AS window_ranges
FROM ops.first_loads AS f
INNER JOIN ops.gaps AS g USING (dataset)
WHERE f.loaded_at IS NULL AND g.gap_start < f.history_until
GROUP BY f.dataset;

-- A first load is over once nothing of the history is missing: what is missing later, an outage has left.
CREATE OR REPLACE FUNCTION ops.end_first_loads() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE ops.first_loads AS f SET loaded_at = ops.clock()
    WHERE f.loaded_at IS NULL AND f.dataset NOT IN (SELECT h.dataset FROM ops.history_to_load AS h)
$$;

REVOKE EXECUTE ON FUNCTION ops.begin_first_load, ops.end_first_loads FROM public;
GRANT SELECT ON ops.first_loads, ops.history_to_load TO loader, analyst;
