-- The states of windows, computed once from what runs, the ledger and the rules. Everything that shows or counts
-- windows reads ops.window_states, through ops.windows_between (each window of a range) or through the views of
-- 60_status.sql. Run as publisher; again is harmless.
--
-- not due   the window, or the delay after it, has not ended
-- running   a live stage or backfill lane has it in work, or a stage has just ended and the next is expected
-- landed    it is in the ledger
-- held      a person has decided about it: see 44_holds.sql
-- skipped   a rule leaves it out
-- failed    the latest attempt failed or died, and nothing has it in work
-- missing   it is due, and none of these
--
-- A landed window stays landed while it is loaded again. A window may land, run or be skipped before it is due: it has
-- that state, but counts only once it is due. So for each dataset, and in total,
-- due = landed + running + failed + skipped + held + missing.

-- Whether a range is one step of the dataset's grid; attempts of datasets that run by watermark are at steps too.
CREATE OR REPLACE FUNCTION control.is_step(wanted control.datasets, candidate tstzrange) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN upper(candidate) - lower(candidate) = wanted.step
AND date_bin(wanted.step, lower(candidate), wanted.first_window) = lower(candidate);

-- One row per window that is in work: by a live stage, or by the lane of a backfill from its first stage to its last.
-- These are leases: they end with the session that holds them.
CREATE OR REPLACE FUNCTION ops.windows_in_work(p_dataset text) RETURNS TABLE (window_range tstzrange, what text)
LANGUAGE plpgsql STABLE ROWS 4 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Whatever the caller has set for its own plan.
SET enable_nestloop = ON SET enable_seqscan = ON
AS $$
#variable_conflict use_column
BEGIN
    -- Most datasets have nothing in work: then the locks of the server are not searched.
    IF NOT EXISTS (SELECT FROM ops.attempts AS a WHERE a.state = 'running' AND a.dataset = p_dataset)
        AND NOT EXISTS (
            SELECT FROM control.backfill_windows AS b
            INNER JOIN control.backfills AS k USING (backfill_id)
            WHERE b.state = 'running' AND k.dataset = p_dataset
        ) THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT DISTINCT ON (w.window_range)
        w.window_range,
        w.what
    FROM (
        SELECT a.window_range, a.stage || ' is running' AS what, 1 AS place, a.attempt_id AS number
        FROM ops.attempts AS a
        INNER JOIN ops.live_attempts USING (attempt_id)
        WHERE a.state = 'running' AND a.dataset = p_dataset
        UNION ALL
        SELECT b.window_range, 'backfill ' || b.backfill_id || ' has it in work', 2, b.window_no
        FROM control.backfill_windows AS b
        INNER JOIN ops.live_claims USING (window_no)
        INNER JOIN control.backfills AS k USING (backfill_id)
        WHERE b.state = 'running' AND k.dataset = p_dataset
    ) AS w
    ORDER BY w.window_range ASC, w.place ASC, w.number DESC;
END;
$$;

-- The windows of a dataset that begin in p_within, which is not before the first window: one range of whole windows, up
-- to the first that begins after p_within, or has not begun.
CREATE OR REPLACE FUNCTION ops.begun_windows(
    known control.datasets, p_within tstzrange, p_moment timestamptz
) RETURNS tstzmultirange
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF isempty(p_within) OR known.first_window > p_moment THEN
        RETURN '{}';
    END IF;
    RETURN tstzmultirange(tstzrange(
        control.window_at_or_after(known, lower(p_within)),
        control.window_at_or_after(
            known, upper(p_within) + CASE WHEN upper_inc(p_within) THEN '1 microsecond' ELSE '0' END::interval
        )
    ));
END;
$$;

-- Of p_open, windows that have not landed and are not in work: those whose next stage is expected, and those whose
-- latest attempt failed. A window that was skipped after its latest attempt began is neither.
CREATE OR REPLACE FUNCTION ops.tried_windows(
    known control.datasets,
    p_open tstzmultirange,
    p_moment timestamptz,
    OUT on_their_way tstzmultirange,
    OUT failed tstzmultirange
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- How long after a stage the next one is expected; whether its run still exists is not known here.
    patience CONSTANT interval := '1 minute';
BEGIN
    SELECT
        coalesce(range_agg(latest.window_range) FILTER (WHERE latest.is_on_its_way), '{}'),
        coalesce(range_agg(latest.window_range) FILTER (WHERE NOT latest.is_on_its_way AND latest.state <> 'succeeded'), '{}')
    INTO on_their_way, failed
    FROM (
        SELECT DISTINCT ON (a.window_range)
            a.window_range,
            a.state,
            a.started_at,
            (
                a.state = 'retrying'
                -- These are followed by no stage that would land it.
                OR (
                    a.state = 'succeeded'
                    AND a.stage NOT IN ('load', 'summarise', 'update_checkpoint', 'validate_consistency')
                )
            )
            AND coalesce(a.ended_at, a.started_at) BETWEEN p_moment - patience AND p_moment AS is_on_its_way
        FROM unnest(p_open) AS o
        CROSS JOIN LATERAL (
            SELECT k.attempt_id, k.window_range, k.state, k.stage, k.started_at, k.ended_at
            FROM ops.attempts AS k
            WHERE k.dataset = known.dataset AND lower(k.window_range) >= lower(o) AND lower(k.window_range) < upper(o)
            -- A fence: the attempts of each gap are looked up, never the gaps for each attempt.
            OFFSET 0
        ) AS a
        WHERE control.is_step(known, a.window_range)
        ORDER BY a.window_range ASC, a.attempt_id DESC
    ) AS latest
    LEFT JOIN ops.skipped_windows AS s ON s.dataset = known.dataset AND s.window_range = latest.window_range
    WHERE s.skipped_at IS NULL OR s.skipped_at < latest.started_at;
END;
$$;

-- The windows of a dataset that have begun, and begin in p_within, as one multirange per state; these do not overlap.
-- The due windows are a multirange too: due = (landed + running + failed + skipped + held + missing) * due.
CREATE OR REPLACE FUNCTION ops.window_states(
    p_dataset text,
    p_within tstzrange DEFAULT '(,)',
    OUT due tstzmultirange,
    OUT landed tstzmultirange,
    OUT running tstzmultirange,
    OUT failed tstzmultirange,
    OUT skipped tstzmultirange,
    OUT held tstzmultirange,
    OUT missing tstzmultirange
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = OFF
SET plan_cache_mode = FORCE_GENERIC_PLAN SET enable_nestloop = ON SET enable_seqscan = ON
AS $$
DECLARE
    moment CONSTANT timestamptz := ops.clock();
    known control.datasets;
    begun tstzmultirange;
    open_windows tstzmultirange;
    unwanted tstzmultirange;
    withheld tstzmultirange;
    kept record;
    tried record;
BEGIN
    SELECT * INTO known FROM control.datasets AS d WHERE d.dataset = p_dataset;
    IF NOT found THEN
        RETURN;
    END IF;
    p_within := p_within * tstzrange(known.first_window, greatest(known.first_window, moment), '[]');
    begun := ops.begun_windows(known, p_within, moment);
    due := begun * tstzmultirange(tstzrange(known.first_window, control.due_until(known, moment)));

    SELECT k.landed, k.skipped INTO kept FROM ops.accounted_within(known, p_within) AS k;
    landed := begun * kept.landed;
    open_windows := begun - landed;
    SELECT coalesce(range_agg(h.window_range), '{}') INTO withheld
    FROM ops.held_windows AS h
    WHERE h.dataset = p_dataset AND control.is_window(known, h.window_range);
    SELECT coalesce(range_agg(u.window_ranges), '{}') INTO unwanted
    FROM control.unwanted_by_rule(p_dataset, moment, range_merge(begun)) AS u;

    SELECT coalesce(range_agg(w.window_range), '{}') INTO running
    FROM ops.windows_in_work(p_dataset) AS w
    WHERE control.is_step(known, w.window_range);
    SELECT * INTO tried FROM ops.tried_windows(known, open_windows - running, moment);

    held := landed * withheld;
    landed := landed - held;
    running := open_windows * (running + tried.on_their_way);
    open_windows := open_windows - running;
    held := held + open_windows * withheld;
    open_windows := open_windows - withheld;
    failed := open_windows * tried.failed - unwanted;
    skipped := open_windows * (unwanted + kept.skipped) - failed;
    missing := (open_windows - failed - skipped) * due;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.windows_in_work, ops.begun_windows, ops.tried_windows, ops.window_states FROM public;
GRANT EXECUTE ON FUNCTION ops.windows_in_work, ops.window_states TO loader, analyst;
