-- The start of the first window that is not due yet: every window that ends at or before it should have landed.
CREATE OR REPLACE FUNCTION control.due_until(wanted control.datasets, moment timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
RETURN wanted.first_window + make_interval(
    secs => extract(EPOCH FROM wanted.step)
    * greatest(
        0,
        -- In the session's time zone a day may have 23 hours.
        floor(
            extract(
                EPOCH FROM (moment AT TIME ZONE 'UTC') - wanted.due_after - (wanted.first_window AT TIME ZONE 'UTC')
            ) / extract(EPOCH FROM wanted.step)
        )
    )
);

-- Whether a range is exactly one window of the dataset's grid; a dataset that is loaded by its changes has no windows.
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

-- Keeps landed windows on the grid: a grid may begin earlier, and may change freely while nothing has landed on it. Any
-- other change is refused, with the windows that would be off the grid, whether it comes from a start or from psql.
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
            -- A window that was off the old grid already does not count.
            ELSE
                (OLD.grid = 'watermark' OR control.is_window(OLD, l.window_range))
                AND NOT control.is_window(NEW, l.window_range)
        END;
    IF lost > 0 THEN
        RAISE EXCEPTION
            'the grid of % cannot change from % windows of % from % on to % windows of % from % on: % landed windows would be '
            'off the grid, the first one from %', OLD.dataset, OLD.grid, OLD.step,
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
    -- Column by column: compared as rows, the condition reads differently after a dump and restore and looks changed.
    old.first_window IS DISTINCT FROM new.first_window
    OR old.step IS DISTINCT FROM new.step
    OR old.grid IS DISTINCT FROM new.grid
) EXECUTE FUNCTION control.keep_grid();

REVOKE EXECUTE ON FUNCTION control.keep_grid FROM public;
