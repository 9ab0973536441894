-- Backfills that nobody carries out: left by their run, never begun, stopped. Run as publisher; again is harmless.

-- One row a backfill that a run of Airflow has taken on and in which nothing has lived for ten minutes: its lanes wait
-- for slots, or the run is gone, which only Airflow can tell.
CREATE OR REPLACE VIEW ops.silent_backfills AS
SELECT
    b.backfill_id,
    b.dataset,
    b.state,
    b.dag_run_id,
    latest.moment AS silent_since
FROM control.backfills AS b
CROSS JOIN
    LATERAL (
        SELECT greatest(max(w.started_at), max(w.ended_at), b.running_since) AS moment
        FROM control.backfill_windows AS w
        WHERE w.backfill_id = b.backfill_id
    ) AS latest
WHERE
    NOT b.run_is_over
    -- A moment to come was written while a clock was ahead.
    AND ops.clock() NOT BETWEEN latest.moment AND latest.moment + '10 minutes'::interval
    AND NOT EXISTS (
        SELECT FROM control.backfill_windows AS w
        INNER JOIN ops.live_claims USING (window_no)
        WHERE w.backfill_id = b.backfill_id
    );

GRANT SELECT ON ops.silent_backfills TO loader, analyst;

-- The run of Airflow that had a backfill will not end it any more. One that ended without its last task leaves the
-- backfill stopped, as its own end would have; for one that Airflow knows nothing of (p_is_known), as after its
-- metadata were made anew, another run is asked for. Does nothing where another run has taken it on, or a lane lives.
CREATE OR REPLACE FUNCTION control.end_without_run(p_backfill integer, p_run_id text, p_is_known boolean)
RETURNS control.backfills
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills := control.hold_backfill(p_backfill);
    goes_on CONSTANT boolean := held.state = 'running' AND NOT p_is_known;
BEGIN
    IF NOT EXISTS (
        SELECT FROM ops.silent_backfills AS s WHERE s.backfill_id = p_backfill AND s.dag_run_id = p_run_id
    ) THEN
        RETURN held;
    END IF;
    held := control.end_backfill(p_backfill, p_run_id);
    IF goes_on AND held.state = 'stopped' THEN
        UPDATE control.backfills AS b
        SET
            state = 'requested', starts = b.starts + 1, dag_run_id = NULL, waits_since = ops.clock(),
            note = 'Airflow knows its run ' || p_run_id || ' no more: another is asked for'
        WHERE b.backfill_id = p_backfill
        RETURNING b.* INTO held;
    END IF;
    RETURN held;
END;
$$;

REVOKE EXECUTE ON FUNCTION control.end_without_run FROM public;
GRANT EXECUTE ON FUNCTION control.end_without_run TO loader;

-- One row a backfill that no run of Airflow has begun though catchup_control, which starts it within five minutes, must
-- have looked twice; and one that is stopped before its windows are done, and goes on by nobody but a person.
CREATE OR REPLACE VIEW ops.backfill_troubles AS
SELECT
    'backfill not started' AS kind,
    'backfill ' || b.backfill_id || ' of ' || b.dataset AS subject,
    b.dataset,
    coalesce(b.waits_since, b.requested_at) AS since,
    (
        SELECT coalesce(range_agg(w.window_range), '{}'::tstzmultirange) FROM control.backfill_windows AS w
        WHERE w.backfill_id = b.backfill_id AND w.state = 'planned'
    ) AS window_ranges
FROM control.backfills AS b
WHERE b.state = 'requested' AND coalesce(b.waits_since, b.requested_at) <= ops.clock() - '10 minutes'::interval
UNION ALL
SELECT
    'backfill stopped' AS kind,
    'backfill ' || b.backfill_id || ' of ' || b.dataset AS subject,
    b.dataset,
    coalesce(max(w.ended_at), b.running_since, b.requested_at) AS since,
    range_agg(w.window_range) FILTER (WHERE w.state IN ('planned', 'running')) AS window_ranges
FROM control.backfills AS b
INNER JOIN control.backfill_windows AS w USING (backfill_id)
WHERE b.state = 'stopped'
GROUP BY b.backfill_id
-- A window that failed has an incident of its own.
HAVING count(*) FILTER (WHERE w.state = 'failed') = 0 AND count(*) FILTER (WHERE w.state IN ('planned', 'running')) > 0;

GRANT SELECT ON ops.backfill_troubles TO loader, analyst;
