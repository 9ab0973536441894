-- One row a dataset: the grid its windows lie on, who loads it and where it is published.
CREATE TABLE IF NOT EXISTS control.datasets (
    dataset text PRIMARY KEY,
    dag_id text NOT NULL,
    published_table text NOT NULL,
    first_window timestamptz NOT NULL,
    step interval NOT NULL,
    due_after interval NOT NULL DEFAULT '0',
    critical boolean NOT NULL DEFAULT FALSE,
    max_lag interval,
    CONSTRAINT dataset_is_a_short_lower_case_name CHECK (dataset ~ '^[a-z][a-z0-9_]{0,29}$'),
    CONSTRAINT published_table_is_schema_dot_table CHECK (published_table ~ '^[a-z][a-z0-9_]*[.][a-z][a-z0-9_]*$'),
    CONSTRAINT step_is_positive CHECK (extract(EPOCH FROM step) > 0),
    CONSTRAINT step_is_no_month CHECK (extract(YEAR FROM step) = 0 AND extract(MONTH FROM step) = 0),
    CONSTRAINT due_after_is_not_negative CHECK (extract(EPOCH FROM due_after) >= 0)
);

ALTER TABLE control.datasets
ADD COLUMN IF NOT EXISTS grid text NOT NULL DEFAULT 'fixed'
CONSTRAINT grid_is_known CHECK (grid IN ('fixed', 'watermark'));

ALTER TABLE control.datasets
ADD COLUMN IF NOT EXISTS fills_gaps boolean NOT NULL DEFAULT FALSE;

COMMENT ON COLUMN control.datasets.fills_gaps IS
'Whether a run of its DAG also loads the windows that earlier runs left out; if not, catchup_control sees to them';
COMMENT ON TABLE control.datasets IS 'The grid of each dataset: first window, step, owner DAG';
COMMENT ON COLUMN control.datasets.grid IS
'fixed: every window is one step of the grid; watermark: a window reaches from the last watermark to the next one, and '
'a step of the grid has landed when such windows cover it';
COMMENT ON COLUMN control.datasets.due_after IS 'How long after its end a window is due';
COMMENT ON COLUMN control.datasets.max_lag IS 'Older than this, the newest landed window counts as stale';

-- The start of the window that is not due yet: every window that ends at or before it is expected to be landed.
CREATE OR REPLACE FUNCTION control.due_until(wanted control.datasets, moment timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
RETURN wanted.first_window + make_interval(
    secs => extract(EPOCH FROM wanted.step)
    * greatest(
        0, floor(extract(EPOCH FROM moment - wanted.due_after - wanted.first_window) / extract(EPOCH FROM wanted.step))
    )
);

-- Whether a range is exactly one window of the dataset's grid; a dataset that runs by watermark has none to publish.
CREATE OR REPLACE FUNCTION control.is_window(wanted control.datasets, candidate tstzrange) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN wanted.grid = 'fixed'
AND lower_inc(candidate)
AND NOT upper_inc(candidate)
AND lower(candidate) >= wanted.first_window
AND extract(EPOCH FROM upper(candidate) - lower(candidate)) = extract(EPOCH FROM wanted.step)
AND mod(extract(EPOCH FROM lower(candidate) - wanted.first_window), extract(EPOCH FROM wanted.step)) = 0;

GRANT SELECT ON control.datasets TO loader, analyst;

-- The datasets that come with Highwater; bootstrap binds the anchor and the length of the history.
INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step, due_after, max_lag)
VALUES (
    'daily_sales', 'historical_sales_migration', 'sales.daily_sales',
    current_setting('highwater.anchor')::timestamptz
    - make_interval(days => current_setting('highwater.history_days')::integer),
    '24 hours', '2 hours', '30 hours'
)
ON CONFLICT (dataset) DO UPDATE
    SET first_window = excluded.first_window
    WHERE datasets.first_window <> excluded.first_window;
