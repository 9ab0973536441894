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
        0,
        -- A day of the session's zone may have 23 hours.
        floor(
            extract(
                EPOCH FROM (moment AT TIME ZONE 'UTC') - wanted.due_after - (wanted.first_window AT TIME ZONE 'UTC')
            ) / extract(EPOCH FROM wanted.step)
        )
    )
);

-- Whether a range is exactly one window of the dataset's grid; a dataset that runs by watermark has none to publish.
CREATE OR REPLACE FUNCTION control.is_window(wanted control.datasets, candidate tstzrange) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN
        wanted.grid <> 'fixed' OR NOT lower_inc(candidate) OR upper_inc(candidate)
        OR NOT isfinite(lower(candidate)) OR NOT isfinite(upper(candidate))
        THEN FALSE
    ELSE
        lower(candidate) >= wanted.first_window
        AND extract(EPOCH FROM upper(candidate) - lower(candidate)) = extract(EPOCH FROM wanted.step)
        AND mod(extract(EPOCH FROM lower(candidate) - wanted.first_window), extract(EPOCH FROM wanted.step)) = 0
END;

GRANT SELECT ON control.datasets TO loader, analyst;

-- What a dataset's row may say, beside the rules of its table above.
DO $$
BEGIN
    PERFORM control.add_rule(
        'control.datasets', 'schema_and_table_have_at_most_63_bytes_each',
        'octet_length(split_part(published_table, ''.'', 1)) <= 63 '
        'AND octet_length(split_part(published_table, ''.'', 2)) <= 63'
    );
    PERFORM control.add_rule(
        'control.datasets', 'first_window_is_between_1900_and_2999', 'control.is_usual_moment(first_window)'
    );
    PERFORM control.add_rule(
        'control.datasets', 'step_is_whole_seconds_up_to_36600_days',
        'control.is_usual_span(step) AND mod(extract(EPOCH FROM step), 1) = 0'
    );
    PERFORM control.add_rule(
        'control.datasets', 'due_after_is_at_most_36600_days', 'control.is_usual_span(due_after)'
    );
    PERFORM control.add_rule(
        'control.datasets', 'max_lag_is_positive_and_at_most_36600_days',
        'control.is_usual_span(max_lag) AND extract(EPOCH FROM max_lag) > 0'
    );
END;
$$;

-- On a grid that cannot be, or on a table that two datasets publish into, nothing can be said of any window.
DO $$
DECLARE
    found_rule text;
    found_dataset text;
    found_check text;
BEGIN
    FOR found_rule, found_check IN
        SELECT c.conname, pg_get_expr(c.conbin, c.conrelid) FROM pg_constraint AS c
        WHERE c.conrelid = 'control.datasets'::regclass AND c.contype = 'c' AND NOT c.convalidated
    LOOP
        EXECUTE format('SELECT min(d.dataset) FROM control.datasets AS d WHERE NOT (%s)', found_check) INTO found_dataset;
        RAISE EXCEPTION 'dataset "%" breaks the rule %: correct its row in control.datasets', found_dataset, found_rule
            USING ERRCODE = 'HW012';
    END LOOP;
    SELECT d.published_table, string_agg(d.dataset, ' and ' ORDER BY d.dataset) INTO found_rule, found_dataset
    FROM control.datasets AS d
    GROUP BY d.published_table
    HAVING count(*) > 1
    ORDER BY d.published_table
    LIMIT 1;
    IF found THEN
        RAISE EXCEPTION 'the datasets % are published into one table, %: give each a table of its own in control.datasets',
            found_dataset, found_rule USING ERRCODE = 'HW012';
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_constraint AS c
        WHERE c.conrelid = 'control.datasets'::regclass AND c.conname = 'one_published_table_one_dataset'
    ) THEN
        ALTER TABLE control.datasets ADD CONSTRAINT one_published_table_one_dataset UNIQUE (published_table);
    END IF;
END;
$$;

-- What has landed stays on the grid: a grid may begin earlier, and one on which nothing has landed may be any other.
-- Whoever would move it below landed windows is told which, be it a start with other settings or a hand in psql.
CREATE OR REPLACE FUNCTION control.keep_grid() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    lost bigint;
    first_lost timestamptz;
BEGIN
    SELECT count(*), min(lower(l.window_range)) INTO lost, first_lost
    FROM ops.window_ledger AS l
    WHERE
        l.dataset = OLD.dataset
        AND CASE
            WHEN NEW.grid = 'watermark'
                THEN lower(l.window_range) >= OLD.first_window AND lower(l.window_range) < NEW.first_window
            -- A window that is on none of this grid any more stands in nobody's way.
            ELSE
                (OLD.grid = 'watermark' OR control.is_window(OLD, l.window_range))
                AND NOT control.is_window(NEW, l.window_range)
        END;
    IF lost > 0 THEN
        RAISE EXCEPTION
            'the grid of % cannot move from % windows of % from % on to % windows of % from % on: % windows have landed that '
            'would lie off it, the first one from %', OLD.dataset, OLD.grid, OLD.step,
            to_char(OLD.first_window, 'YYYY-MM-DD HH24:MI'), NEW.grid, NEW.step,
            to_char(NEW.first_window, 'YYYY-MM-DD HH24:MI'), lost, to_char(first_lost, 'YYYY-MM-DD HH24:MI')
            USING ERRCODE = 'HW011', HINT = 'Load it on the new grid as another dataset, into a table of its own.';
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE TRIGGER landed_windows_stay_on_the_grid BEFORE UPDATE OF first_window, step, grid ON control.datasets
FOR EACH ROW
WHEN (
    (old.first_window, old.step, old.grid) IS DISTINCT FROM (new.first_window, new.step, new.grid)
) EXECUTE FUNCTION control.keep_grid();

REVOKE EXECUTE ON FUNCTION control.keep_grid FROM public;
