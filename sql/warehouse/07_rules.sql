-- Rules of tables that may hold rows already, and what a span, a day or a moment that a person writes may be. Run as
-- publisher; again is harmless.

-- Whether a day is one that people mean: Python, whose years end with 9999, must be able to step to its neighbours.
CREATE OR REPLACE FUNCTION control.is_usual_day(day date) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN day BETWEEN '1900-01-01'::date AND '2999-12-31'::date;

-- The same for a moment.
CREATE OR REPLACE FUNCTION control.is_usual_moment(moment timestamptz) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN moment >= '1900-01-01 00:00+00'::timestamptz AND moment < '3000-01-01 00:00+00'::timestamptz;

-- Whether a span leads from a usual moment to one that can be said; infinity does not, nor do a million years.
CREATE OR REPLACE FUNCTION control.is_usual_span(span interval) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN isfinite(span) AND abs(extract(EPOCH FROM span)) <= 36600 * 86400::numeric;

-- The words with which a person says who asks or why, without the blanks around them. The one rule for all of them:
-- command line, form, page and SQL come through here. A refusal has the SQLSTATE that the caller names.
CREATE OR REPLACE FUNCTION control.words(p_name text, p_text text, p_state text DEFAULT 'HW030') RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    longest CONSTANT integer := 500;
    blanks CONSTANT text := E' \t\r\n';
BEGIN
    IF coalesce(p_text, '') !~ '[^[:space:]]' THEN
        RAISE EXCEPTION '% "%" is blank: expected words that others understand later', p_name, coalesce(p_text, '')
            USING ERRCODE = p_state;
    ELSIF length(p_text) > longest THEN
        RAISE EXCEPTION '% "%…" has % characters: expected at most %', p_name, left(p_text, 40), length(p_text), longest
            USING ERRCODE = p_state;
    END IF;
    RETURN btrim(p_text, blanks);
END;
$$;

REVOKE EXECUTE ON FUNCTION control.words FROM public;
GRANT EXECUTE ON FUNCTION control.words TO loader, operator, analyst;

-- Adds a rule to a table: from now on it is refused to write a row that breaks it. One that is there already stays, and
-- the rule is not valid, until somebody has corrected it.
CREATE OR REPLACE FUNCTION control.add_rule(p_table regclass, p_rule text, p_check text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known pg_constraint;
    is_broken boolean;
BEGIN
    SELECT * INTO known FROM pg_constraint AS c WHERE c.conrelid = p_table AND c.conname = p_rule;
    IF NOT found THEN
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%s) NOT VALID', p_table, p_rule, p_check);
    ELSIF known.convalidated THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE NOT (%s))', p_table, p_check) INTO is_broken;
    IF NOT is_broken THEN
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', p_table, p_rule);
    END IF;
END;
$$;

-- Whether a window is one that people mean: half-open, from one usual moment to a later one.
CREATE OR REPLACE FUNCTION control.is_usual_window(p_window tstzrange) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN coalesce(
    lower_inc(p_window) AND NOT upper_inc(p_window) AND NOT isempty(p_window)
    AND control.is_usual_moment(lower(p_window)) AND control.is_usual_moment(upper(p_window)),
    FALSE
);

-- Those of many stretches that are usual windows.
CREATE OR REPLACE FUNCTION control.usual_windows(p_windows tstzmultirange) RETURNS tstzmultirange
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT coalesce(range_agg(w), '{}'::tstzmultirange) FROM unnest(p_windows) AS w
    WHERE control.is_usual_window(w)
);

-- Whether these can be names in a record: each is missing, or of at most 500 characters.
CREATE OR REPLACE FUNCTION control.are_names(VARIADIC p_names text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN NOT EXISTS (
    SELECT FROM unnest(p_names) AS n
    WHERE char_length(n) > 500
);

-- Whether these can be counts, or seconds, in a record: each is missing, or a number from 0 to 10^18. "Not a number" is
-- greater than all of them.
CREATE OR REPLACE FUNCTION control.are_counts(VARIADIC p_counts numeric[]) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN NOT EXISTS (
    SELECT FROM unnest(p_counts) AS n
    WHERE n NOT BETWEEN 0 AND 1e18
);

-- What is kept of a text that says what happened: it may be an error of any length.
CREATE OR REPLACE FUNCTION control.cut(p_text text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN left(p_text, 10000);

-- Adds a rule to a table of records, which only the programs of the platform write. A row that breaks it was written by
-- nobody who meant it, and whoever reads it may fail for ever: it goes, and the start says so.
CREATE OR REPLACE FUNCTION control.add_rule_of_records(p_table regclass, p_rule text, p_check text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone bigint;
BEGIN
    IF EXISTS (
        SELECT FROM pg_constraint AS c WHERE c.conrelid = p_table AND c.conname = p_rule AND c.convalidated
    ) THEN
        RETURN;
    END IF;
    EXECUTE format('DELETE FROM %s WHERE NOT (%s)', p_table, p_check);
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone > 0 THEN
        RAISE WARNING '% rows of % were no records of anything (%): they are deleted', gone, p_table, p_rule;
    END IF;
    PERFORM control.add_rule(p_table, p_rule, p_check);
END;
$$;

REVOKE EXECUTE ON FUNCTION control.add_rule, control.add_rule_of_records FROM public;
