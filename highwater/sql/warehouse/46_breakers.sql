-- The circuit breaker of a dataset: after some windows failed in a row for one and the same reason that trying again
-- does not mend, no more are tried until something changed. Run as publisher; again is harmless.

-- What a failure is about, without the numbers that differ from window to window.
CREATE OR REPLACE FUNCTION ops.failure_reason(failed ops.attempts) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN failed.error_kind || ' in ' || failed.stage || ': '
|| left(regexp_replace(split_part(failed.error, 'SELECT', 1), '[0-9]+', '#', 'g'), 300);

-- Whether a failed attempt waits for a person: trying again does not mend it, and nothing changed since.
CREATE OR REPLACE FUNCTION ops.waits_for_person(failed ops.attempts) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN failed.error_kind IN ('AuditFailed', 'RefusedData', 'ConfigurationError') AND NOT EXISTS (
        SELECT FROM ops.breakers AS b WHERE b.dataset = failed.dataset AND b.closed_at >= failed.started_at
    );
END;
$$;

-- The sources that a change of may mend a dataset: those that have a rule for it, and the one asked as it failed last.
CREATE OR REPLACE FUNCTION ops.sources_in_trouble(p_dataset text) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.source FROM control.sources AS s WHERE s.dataset = p_dataset AND s.source IS NOT NULL
    UNION
    SELECT newest.source
    FROM (
        SELECT a.source FROM ops.attempts AS a
        WHERE a.dataset = p_dataset AND a.state = 'failed'
        ORDER BY a.attempt_id DESC
        LIMIT 1
    ) AS newest
    WHERE newest.source IS NOT NULL
$$;

-- When a window of a dataset was landed last by a run; null where none was. Changes are landed by another stage.
CREATE OR REPLACE FUNCTION ops.newest_landing(p_dataset text) RETURNS ops.attempts
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.* FROM ops.attempts AS a
    WHERE a.dataset = p_dataset AND a.stage IN ('load', 'update_checkpoint') AND a.state = 'succeeded'
    ORDER BY a.attempt_id DESC
    LIMIT 1
$$;

-- All that a change of may mend a dataset, as one value; p_files is a hash of files, settings and connections.
CREATE OR REPLACE FUNCTION ops.breaker_fingerprint(p_dataset text, p_files text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT md5(concat_ws(
        '|', p_files,
        (SELECT d::text FROM control.datasets AS d WHERE d.dataset = p_dataset),
        (SELECT string_agg(s::text, ';' ORDER BY s::text) FROM control.sources AS s WHERE s.dataset = p_dataset),
        (SELECT count(*)::text FROM control.accepted_reloads AS a WHERE a.dataset = p_dataset),
        (
            SELECT string_agg(c.attname || ' ' || format_type(c.atttypid, c.atttypmod), ',' ORDER BY c.attnum)
            FROM control.datasets AS d
            INNER JOIN pg_attribute AS c ON c.attrelid = to_regclass(d.published_table)
            WHERE d.dataset = p_dataset AND c.attnum > 0 AND NOT c.attisdropped
        )
    ))
$$;

-- Why a dataset is stopped, as a sentence; null where it is not. Found by its key.
CREATE OR REPLACE FUNCTION ops.stopped_because(p_dataset text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    SELECT
        p_dataset || ' is stopped since ' || to_char(b.opened_at, 'YYYY-MM-DD HH24:MI') || ' UTC: ' || b.reason
        || '; it goes on by itself once that is mended'
    FROM ops.breakers AS b WHERE b.dataset = p_dataset AND b.closed_at IS NULL
$$;

-- Stops a dataset whose last windows failed in a row for one reason. To be asked when an attempt has failed for good.
CREATE OR REPLACE FUNCTION ops.consider_breaker(p_dataset text, p_files text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    in_a_row CONSTANT integer := 3;
    newest ops.attempts;
    since integer;
    alike record;
BEGIN
    since := coalesce((ops.newest_landing(p_dataset)).attempt_id, 0);
    SELECT a.* INTO newest FROM ops.attempts AS a
    WHERE a.dataset = p_dataset AND a.state = 'failed' AND a.attempt_id > since
    ORDER BY a.attempt_id DESC LIMIT 1;
    -- A load that another one was faster than says nothing of the others.
    IF newest.attempt_id IS NULL OR NOT ops.waits_for_person(newest) OR newest.error ~ '^stale attempt' THEN
        RETURN;
    END IF;
    SELECT count(DISTINCT a.window_range) AS windows, range_agg(a.window_range) AS window_ranges INTO alike
    FROM ops.attempts AS a
    WHERE
        a.dataset = p_dataset AND a.state = 'failed' AND ops.waits_for_person(a)
        AND a.attempt_id > greatest(since, (
            SELECT max(o.attempt_id) FROM ops.attempts AS o
            WHERE
                o.dataset = p_dataset AND o.state = 'failed' AND o.attempt_id > since
                AND ops.failure_reason(o) IS DISTINCT FROM ops.failure_reason(newest)
        ));
    IF alike.windows >= in_a_row THEN
        INSERT INTO ops.breakers (dataset, error_kind, reason, window_ranges, fingerprint)
        VALUES (
            p_dataset, newest.error_kind,
            alike.windows || ' windows failed in a row, ' || newest.error_kind || ' in ' || newest.stage || ': '
            || left(newest.error, 500),
            alike.window_ranges, ops.breaker_fingerprint(p_dataset, p_files)
        )
        ON CONFLICT (dataset) WHERE closed_at IS NULL DO NOTHING;
    END IF;
END;
$$;

-- A run of a dataset that nobody has registered yet: it waits, and the date is kept.
CREATE OR REPLACE FUNCTION ops.wait_for_dataset(p_dataset text, p_dag_id text, p_moment timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO ops.breakers AS b (dataset, error_kind, reason, window_ranges, fingerprint)
    SELECT
        p_dataset, 'NotRegistered', 'the runs of ' || p_dag_id || ' wait until it has a row in control.datasets',
        tstzmultirange(tstzrange(p_moment, p_moment, '[]')), ''
    WHERE NOT EXISTS (SELECT FROM control.datasets AS d WHERE d.dataset = p_dataset)
    ON CONFLICT (dataset) WHERE closed_at IS NULL DO UPDATE
    SET window_ranges = b.window_ranges + excluded.window_ranges
$$;

-- Lets a stopped dataset go on where something changed, and once an hour where its source may be what was mended:
-- data was refused, or it failed as that was asked. Windows of backfills that wait for it are to be loaded again.
-- Returns why it is stopped still, else null.
CREATE OR REPLACE FUNCTION ops.still_stopped(p_dataset text, p_files text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at_source CONSTANT boolean := EXISTS (
        SELECT FROM (
            SELECT a.source FROM ops.attempts AS a
            WHERE a.dataset = p_dataset AND a.state = 'failed'
            ORDER BY a.attempt_id DESC
            LIMIT 1
        ) AS newest
        WHERE newest.source IS NOT NULL
    );
BEGIN
    UPDATE ops.breakers AS b
    SET closed_at = ops.clock()
    WHERE
        b.dataset = p_dataset AND b.closed_at IS NULL
        AND CASE b.error_kind
            WHEN 'NotRegistered' THEN EXISTS (SELECT FROM control.datasets AS d WHERE d.dataset = p_dataset)
            ELSE
                b.fingerprint <> ops.breaker_fingerprint(p_dataset, p_files)
                OR (
                    (b.error_kind <> 'ConfigurationError' OR at_source)
                    AND b.opened_at <= ops.clock() - '1 hour'::interval
                )
                -- One that somebody loaded by hand shows that it is mended.
                OR b.opened_at <= (ops.newest_landing(p_dataset)).started_at
        END;
    IF NOT found THEN
        RETURN ops.stopped_because(p_dataset);
    END IF;
    UPDATE control.backfill_windows AS w
    SET state = 'planned', error = NULL, ended_at = NULL
    FROM control.backfills AS k
    WHERE
        w.backfill_id = k.backfill_id AND k.dataset = p_dataset AND k.state = 'paused' AND k.held_by = 'policy'
        AND w.state = 'failed';
    RETURN NULL;
END;
$$;

-- Writes down that a backfill was asked for of what a breaker had kept from being tried.
CREATE OR REPLACE FUNCTION ops.breaker_resumed(p_breaker bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE ops.breakers AS b SET resumed_at = ops.clock() WHERE b.breaker_id = p_breaker AND b.closed_at IS NOT NULL
$$;

REVOKE EXECUTE ON FUNCTION
ops.failure_reason, ops.waits_for_person, ops.sources_in_trouble, ops.newest_landing, ops.breaker_fingerprint,
ops.stopped_because, ops.consider_breaker, ops.wait_for_dataset, ops.still_stopped, ops.breaker_resumed
FROM public;
GRANT EXECUTE ON FUNCTION ops.stopped_because TO loader, analyst, operator;
GRANT EXECUTE ON FUNCTION
ops.sources_in_trouble, ops.consider_breaker, ops.wait_for_dataset, ops.still_stopped, ops.breaker_resumed
TO loader;
GRANT SELECT ON ops.breakers TO loader, analyst;
