-- One row a dataset with windows: how much of it was history when it became known, and when all of that had landed.
CREATE TABLE ops.first_loads (
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
