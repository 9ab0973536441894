-- What a span, a day or a moment that a person writes may be, and what a record: functions that rules of tables use,
-- and that change only by a migration.

-- Whether a day is one that people mean: Python, whose years end with 9999, must be able to step to its neighbours.
CREATE FUNCTION control.is_usual_day(day date) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN day BETWEEN '1900-01-01'::date AND '2999-12-31'::date;

-- The same for a moment.
CREATE FUNCTION control.is_usual_moment(moment timestamptz) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN moment >= '1900-01-01 00:00+00'::timestamptz AND moment < '3000-01-01 00:00+00'::timestamptz;

-- Whether a span leads from a usual moment to one that can be said; infinity does not, nor do a million years.
CREATE FUNCTION control.is_usual_span(span interval) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN isfinite(span) AND abs(extract(EPOCH FROM span)) <= 36600 * 86400::numeric;

-- Whether a window is one that people mean: half-open, from one usual moment to a later one.
CREATE FUNCTION control.is_usual_window(p_window tstzrange) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN coalesce(
    lower_inc(p_window) AND NOT upper_inc(p_window) AND NOT isempty(p_window)
    AND control.is_usual_moment(lower(p_window)) AND control.is_usual_moment(upper(p_window)),
    FALSE
);

-- Those of many stretches that are usual windows.
CREATE FUNCTION control.usual_windows(p_windows tstzmultirange) RETURNS tstzmultirange
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT coalesce(range_agg(w), '{}'::tstzmultirange) FROM unnest(p_windows) AS w
    WHERE control.is_usual_window(w)
);

-- Whether these can be names in a record: each is missing, or of at most 500 characters.
CREATE FUNCTION control.are_names(VARIADIC p_names text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN NOT EXISTS (
    SELECT FROM unnest(p_names) AS n
    WHERE char_length(n) > 500
);

-- Whether these can be counts, or seconds, in a record: each is missing, or a number from 0 to 10^18. "Not a number" is
-- greater than all of them.
CREATE FUNCTION control.are_counts(VARIADIC p_counts numeric[]) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN NOT EXISTS (
    SELECT FROM unnest(p_counts) AS n
    WHERE n NOT BETWEEN 0 AND 1e18
);
