-- The other checks of a backfill: its options, and whether it overlaps with another. A plan makes them as well as a
-- request. Run as publisher; idempotent.

-- Refuses invalid options that do not choose windows: the reason, the user, and how the backfill is carried out.
CREATE OR REPLACE FUNCTION control.check_order(
    p_reason text, p_requested_by text, p_max_active integer, p_on_failure text, p_via text
) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM control.words('reason', p_reason), control.words('requested_by', p_requested_by);
    IF p_max_active IS NULL OR p_max_active NOT BETWEEN 1 AND 8 THEN
        RAISE EXCEPTION 'invalid max_active %: expected 1 to 8', coalesce(p_max_active::text, 'null')
            USING ERRCODE = 'HW030';
    END IF;
    PERFORM control.refuse_unless_one_of('on_failure', p_on_failure, '{continue,stop}');
    PERFORM control.refuse_unless_one_of('via', p_via, '{cli,form,sql,policy,recovery}');
END;
$$;

-- Another backfill that is to load some of these windows, as a sentence with the way out; null if no other does. A
-- window is in one backfill at a time. A plan and a request show the same sentence.
CREATE OR REPLACE FUNCTION control.overlap_of(p_dataset text, p_windows tstzrange[], p_backfill integer DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
SET enable_nestloop = OFF
AS $$
DECLARE
    other record;
BEGIN
    SELECT b.backfill_id, b.state, count(*) AS windows, min(lower(theirs.window_range)) AS first
    INTO other
    FROM control.backfills AS b
    INNER JOIN control.backfill_windows AS theirs ON b.backfill_id = theirs.backfill_id
    INNER JOIN unnest(p_windows) AS mine (window_range) ON theirs.window_range = mine.window_range
    LEFT JOIN ops.live_claims AS live ON theirs.window_no = live.window_no
    WHERE
        b.dataset = p_dataset AND b.backfill_id IS DISTINCT FROM p_backfill
        -- A window that no live lane holds counts only while its backfill may give it to another lane.
        AND (
            live.window_no IS NOT NULL
            OR (theirs.state IN ('planned', 'running') AND b.state IN ('requested', 'running', 'paused', 'stopped'))
        )
    GROUP BY b.backfill_id, b.state
    ORDER BY b.backfill_id
    LIMIT 1;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    RETURN format(
        'backfill %s (%s) is to load %s of these windows of %s already, the first from %s: wait for it, cancel it '
        '(scripts/highwater backfill cancel %s), or request other windows', other.backfill_id, other.state, other.windows,
        p_dataset, to_char(other.first, 'YYYY-MM-DD HH24:MI'), other.backfill_id
    );
END;
$$;

-- Refuses a backfill if another one is to load some of its windows.
CREATE OR REPLACE FUNCTION control.refuse_overlap(p_backfill integer, p_dataset text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    overlap CONSTANT text := control.overlap_of(
        p_dataset,
        (
            SELECT array_agg(w.window_range) FROM control.backfill_windows AS w
            WHERE w.backfill_id = p_backfill AND w.state = 'planned'
        ),
        p_backfill
    );
BEGIN
    IF overlap IS NOT NULL THEN
        RAISE EXCEPTION '%', overlap USING ERRCODE = 'HW031';
    END IF;
END;
$$;

REVOKE EXECUTE ON FUNCTION control.overlap_of, control.refuse_overlap FROM public;
GRANT EXECUTE ON FUNCTION control.overlap_of TO loader, analyst;
