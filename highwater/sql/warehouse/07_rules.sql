-- Rules for texts: reasons that people give, and errors. Rules for spans, days and moments belong to the tables:
-- highwater/sql/migrations/.

-- The name or reason that a person gives, trimmed. Command line, forms, page and SQL all use this rule. An error has
-- the SQLSTATE that the caller names.
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

-- A text that says what happened, cut to the length that is kept: it may be an error of any length.
CREATE OR REPLACE FUNCTION control.cut(p_text text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN left(p_text, 10000);

-- A span in words: 1 hour, 7 days, 1 day 12 hours.
CREATE OR REPLACE FUNCTION control.span_in_words(p_span interval) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(
        trim_scale(u.number) || ' ' || u.unit || CASE u.number WHEN 1 THEN '' ELSE 's' END, ' ' ORDER BY u.place
    )
    FROM (SELECT extract(EPOCH FROM p_span) AS seconds) AS length
    CROSS JOIN LATERAL (
        VALUES
        (1, 'day', floor(length.seconds / 86400)),
        (2, 'hour', floor(mod(length.seconds, 86400) / 3600)),
        (3, 'minute', floor(mod(length.seconds, 3600) / 60)),
        (4, 'second', mod(length.seconds, 60))
    ) AS u (place, unit, number)
    WHERE u.number > 0
$$;

REVOKE EXECUTE ON FUNCTION control.span_in_words FROM public;
GRANT EXECUTE ON FUNCTION control.span_in_words TO loader, operator, analyst;
