-- Backfills that do not progress: left by their run, never begun, stopped. Run as publisher; idempotent.

-- One row per backfill that an Airflow run has begun and that had no live lane for ten minutes: its lanes wait for
-- slots, or the run is gone, which only Airflow knows.
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
    -- A future moment was written while a clock was ahead.
    AND ops.clock() NOT BETWEEN latest.moment AND latest.moment + '10 minutes'::interval
    AND NOT EXISTS (
        SELECT FROM control.backfill_windows AS w
        INNER JOIN ops.live_claims USING (window_no)
        WHERE w.backfill_id = b.backfill_id
    );

GRANT SELECT ON ops.silent_backfills TO loader, analyst;

-- Ends a backfill whose Airflow run will not do so any more. If the run ended without its last task, the backfill is
-- stopped, as that task would have done. If Airflow does not know the run (p_is_known), as after a reset of its
-- metadata database, another run is requested. Does nothing if another run has begun the backfill, or a lane is alive.
CREATE OR REPLACE FUNCTION control.end_without_run(p_backfill integer, p_run_id text, p_is_known boolean)
RETURNS control.backfills
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held control.backfills := control.lock_backfill(p_backfill);
    goes_on CONSTANT boolean := held.state = 'running' AND NOT p_is_known;
BEGIN
    IF NOT EXISTS (
        SELECT FROM ops.silent_backfills AS s WHERE s.backfill_id = p_backfill AND s.dag_run_id = p_run_id
    ) THEN
        RETURN held;
    END IF;
    held := control.end_backfill(p_backfill, p_run_id);
    IF goes_on AND held.state = 'stopped' THEN
        held := control.request_again(
            p_backfill, 'its run ' || p_run_id || ' no longer exists in Airflow: another is requested'
        );
    END IF;
    RETURN held;
END;
$$;

REVOKE EXECUTE ON FUNCTION control.end_without_run FROM public;
GRANT EXECUTE ON FUNCTION control.end_without_run TO loader;

-- One row per backfill that no Airflow run has begun, although catchup_control, which starts it within five minutes,
-- must have run twice; and one per backfill that stopped before its windows were done, which only a person can resume.
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
