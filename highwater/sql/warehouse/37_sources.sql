-- The sources that datasets are loaded from: their rules, how reliable they were, and whether they catch up.
-- Run as publisher; idempotent.

-- Refuses an unknown source with the list of known ones, which a foreign key cannot give.
CREATE OR REPLACE FUNCTION control.refuse_unknown_source() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM control.known_sources AS k WHERE k.source = NEW.source) THEN
        RAISE EXCEPTION 'unknown source "%"; known: %; a new one is first added to control.known_sources', NEW.source,
            (SELECT string_agg(k.source, ', ' ORDER BY k.source) FROM control.known_sources AS k)
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'source_is_known';
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE TRIGGER source_is_named BEFORE INSERT OR UPDATE OF source ON control.sources
FOR EACH ROW EXECUTE FUNCTION control.refuse_unknown_source();

REVOKE EXECUTE ON FUNCTION control.refuse_unknown_source FROM public;
GRANT SELECT ON control.known_sources TO loader, analyst;
GRANT INSERT, UPDATE, DELETE ON control.known_sources TO operator;
GRANT INSERT, UPDATE ON control.sources TO operator;

-- One row per source: how reliable it has been, and whether it catches up on past windows.
CREATE OR REPLACE VIEW ops.source_reliability AS
WITH measured AS (
    SELECT
        s.source,
        s.dataset,
        s.catch_up,
        s.reliability_threshold,
        s.reliability_checks,
        s.catch_up_limit,
        recent.checks,
        recent.good_checks,
        recent.good_checks::numeric / nullif(recent.checks, 0) AS reliability,
        failure.checked_at AS last_failure_at,
        recent.checks >= s.reliability_checks
        AND recent.good_checks >= s.reliability_threshold * recent.checks AS is_reliable
    FROM control.sources AS s
    CROSS JOIN
        LATERAL (
            SELECT
                count(*) AS checks,
                count(*) FILTER (WHERE newest.is_good) AS good_checks
            FROM (
                SELECT k.reachable AND k.complete IS NOT FALSE AS is_good
                FROM ops.source_checks AS k
                WHERE k.source = s.source
                ORDER BY k.check_id DESC
                LIMIT s.reliability_checks
            ) AS newest
        ) AS recent
    LEFT JOIN LATERAL (
        SELECT k.checked_at
        FROM ops.source_checks AS k
        WHERE k.source = s.source AND NOT (k.reachable AND k.complete IS NOT FALSE)
        ORDER BY k.check_id DESC
        LIMIT 1
    ) AS failure ON TRUE
    WHERE s.strategy = 'windows'
)

SELECT
    source,
    dataset,
    catch_up,
    reliability_threshold,
    reliability_checks,
    catch_up_limit,
    checks,
    good_checks,
    reliability,
    last_failure_at,
    ops.clock() - last_failure_at AS since_last_failure,
    CASE catch_up WHEN 'all' THEN TRUE WHEN 'none' THEN FALSE ELSE is_reliable END AS catches_up,
    CASE catch_up
        WHEN 'all' THEN 'control.sources says to catch up on all windows'
        WHEN 'none' THEN 'control.sources says never to catch up'
        ELSE
            good_checks || ' of the last ' || checks || ' checks were good, '
            || CASE
                WHEN checks < reliability_checks THEN reliability_checks || ' are needed to judge by'
                ELSE
                    CASE WHEN is_reliable THEN 'enough for' ELSE 'fewer than' END || ' the threshold of '
                    || trim_scale(reliability_threshold)
            END
    END AS reason
FROM measured;

-- Records a check of a source. If its reliability switches the catch-up on or off, that is recorded too, once, and
-- flipped is true.
CREATE OR REPLACE FUNCTION ops.record_source_check(
    p_source text,
    p_window tstzrange,
    p_reachable boolean,
    p_seconds numeric,
    p_complete boolean,
    p_error text,
    p_dag_id text,
    p_run_id text,
    p_try integer,
    OUT catches_up boolean,
    OUT reason text,
    OUT flipped boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found ops.source_reliability;
BEGIN
    PERFORM ops.take_turn('check of ' || p_source);
    INSERT INTO ops.source_checks (
        source, window_range, checked_at, reachable, latency_seconds, complete, error, dag_id, run_id, try_number
    )
    VALUES (
        p_source, p_window, ops.clock(), p_reachable, p_seconds, p_complete, control.cut(p_error), p_dag_id, p_run_id, p_try
    );
    SELECT * INTO found FROM ops.source_reliability AS r WHERE r.source = p_source;
    IF found.source IS NULL THEN
        RAISE EXCEPTION 'unknown source "%"; known: %', p_source,
            (SELECT string_agg(s.source, ', ' ORDER BY s.source) FROM control.sources AS s WHERE s.strategy = 'windows')
            USING ERRCODE = 'HW001';
    END IF;
    catches_up := found.catches_up;
    reason := found.reason;
    flipped := found.catch_up = 'reliable' AND catches_up <> coalesce(
        (
            SELECT c.catches_up FROM ops.catch_up_changes AS c
            WHERE c.source = p_source ORDER BY c.change_id DESC LIMIT 1
        ), false
    );
    IF flipped THEN
        INSERT INTO ops.catch_up_changes (source, changed_at, catches_up, reason, dag_id, run_id)
        VALUES (p_source, ops.clock(), catches_up, reason, p_dag_id, p_run_id);
    END IF;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.record_source_check FROM public;
GRANT EXECUTE ON FUNCTION ops.record_source_check TO loader;
GRANT SELECT ON ops.source_checks, ops.catch_up_changes, ops.source_reliability TO loader, analyst;
