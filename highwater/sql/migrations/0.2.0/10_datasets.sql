-- One row a dataset: the grid its windows lie on, who loads it and where it is published.
CREATE TABLE control.datasets (
    dataset text PRIMARY KEY,
    dag_id text NOT NULL,
    published_table text NOT NULL,
    first_window timestamptz NOT NULL,
    step interval NOT NULL,
    due_after interval NOT NULL DEFAULT '0',
    critical boolean NOT NULL DEFAULT FALSE,
    max_lag interval,
    grid text NOT NULL DEFAULT 'fixed',
    fills_gaps boolean NOT NULL DEFAULT FALSE,
    on_shrink text NOT NULL DEFAULT 'stop',
    max_shrink numeric(4, 3) NOT NULL DEFAULT 0.500,
    CONSTRAINT dataset_is_a_short_lower_case_name CHECK (dataset ~ '^[a-z][a-z0-9_]{0,29}$'),
    CONSTRAINT published_table_is_schema_dot_table CHECK (published_table ~ '^[a-z][a-z0-9_]*[.][a-z][a-z0-9_]*$'),
    CONSTRAINT step_is_positive CHECK (extract(EPOCH FROM step) > 0),
    CONSTRAINT step_is_no_month CHECK (extract(YEAR FROM step) = 0 AND extract(MONTH FROM step) = 0),
    CONSTRAINT due_after_is_not_negative CHECK (extract(EPOCH FROM due_after) >= 0),
    CONSTRAINT grid_is_known CHECK (grid IN ('fixed', 'watermark')),
    CONSTRAINT schema_and_table_have_at_most_63_bytes_each CHECK (
        octet_length(split_part(published_table, '.', 1)) <= 63
        AND octet_length(split_part(published_table, '.', 2)) <= 63
    ),
    CONSTRAINT first_window_is_between_1900_and_2999 CHECK (control.is_usual_moment(first_window)),
    CONSTRAINT step_is_whole_seconds_up_to_36600_days CHECK (
        control.is_usual_span(step) AND mod(extract(EPOCH FROM step), 1) = 0
    ),
    CONSTRAINT due_after_is_at_most_36600_days CHECK (control.is_usual_span(due_after)),
    CONSTRAINT one_published_table_one_dataset UNIQUE (published_table),
    CONSTRAINT max_lag_is_positive_and_at_most_36600_days CHECK (
        control.is_usual_span(max_lag) AND extract(EPOCH FROM max_lag) > 0
    ),
    CONSTRAINT on_shrink_is_stop_or_accept CHECK (on_shrink IN ('stop', 'accept')),
    CONSTRAINT max_shrink_is_between_0_and_1 CHECK (max_shrink BETWEEN 0 AND 1)
);

COMMENT ON COLUMN control.datasets.fills_gaps IS
'Whether a run of its DAG also loads the windows that earlier runs left out; if not, catchup_control sees to them';
COMMENT ON TABLE control.datasets IS 'The grid of each dataset: first window, step, owner DAG';
COMMENT ON COLUMN control.datasets.grid IS
'fixed: every window is one step of the grid; watermark: a window reaches from the last watermark to the next one, and '
'a step of the grid has landed when such windows cover it';
COMMENT ON COLUMN control.datasets.due_after IS 'How long after its end a window is due';
COMMENT ON COLUMN control.datasets.max_lag IS 'Older than this, the newest landed window counts as stale';

COMMENT ON COLUMN control.datasets.on_shrink IS
'What a reload does that would lose more than max_shrink of the published rows: accept, or stop until '
'scripts/highwater accept';
COMMENT ON COLUMN control.datasets.max_shrink IS
'The share of the published rows of a window that a reload may lose without being asked: 0.5 is half of them';
