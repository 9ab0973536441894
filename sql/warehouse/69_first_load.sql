-- A first start is no outage: the windows that were due when a dataset became known are its history, and missing until
-- they have been loaded for the first time. Run as publisher; again is harmless.

-- One row a dataset with windows: how much of it was history when it became known, and when all of that had landed.
CREATE TABLE IF NOT EXISTS ops.first_loads (
    dataset text PRIMARY KEY REFERENCES control.datasets ON DELETE CASCADE,
    known_since timestamptz NOT NULL,
    history_until timestamptz NOT NULL,
    loaded_at timestamptz
);

COMMENT ON TABLE ops.first_loads IS 'The first load of each dataset''s history, which is no outage';
COMMENT ON COLUMN ops.first_loads.history_until IS
'The end of the newest window that was due when the dataset became known';
COMMENT ON COLUMN ops.first_loads.loaded_at IS
'Since then whatever is missing has been lost; null: history is being loaded';

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

-- Datasets that were there before: one of which something has landed has had its first load.
INSERT INTO ops.first_loads (dataset, known_since, history_until, loaded_at)
SELECT
    d.dataset,
    ops.clock() AS known_since,
    control.due_until(d.*, ops.clock()) AS history_until,
    CASE WHEN d.dataset IN (SELECT l.dataset FROM ops.window_ledger AS l) THEN ops.clock() END AS loaded_at
FROM control.datasets AS d
WHERE d.grid = 'fixed'
ON CONFLICT (dataset) DO NOTHING;

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

-- Shown beside the incidents, and none.
INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, is_trouble, advice)
VALUES
(
    'first load of history', '24 hours', FALSE, FALSE,
    'Nothing is wrong: windows that were due before the first start are being loaded. scripts/highwater '
    'recovery shows how far that is.'
)
ON CONFLICT (kind) DO UPDATE
    SET advice = excluded.advice
    WHERE incident_kinds.advice <> excluded.advice;

REVOKE EXECUTE ON FUNCTION ops.begin_first_load, ops.end_first_loads FROM public;
GRANT SELECT ON ops.first_loads, ops.history_to_load TO loader, analyst;
