-- The circuit breaker of a dataset: after some windows failed in a row for one reason that a retry does not fix, no
-- more are tried until something changes. Run as publisher; again is harmless.

-- The reason of a failure, without the numbers that differ from window to window.
CREATE OR REPLACE FUNCTION ops.failure_reason(failed ops.attempts) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN failed.error_kind || ' in ' || failed.stage || ': '
|| left(regexp_replace(split_part(failed.error, 'SELECT', 1), '[0-9]+', '#', 'g'), 300);

-- Whether a failed attempt waits for a person: a retry does not fix it, and nothing has changed since.
CREATE OR REPLACE FUNCTION ops.waits_for_person(failed ops.attempts) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN failed.error_kind IN ('audit failed', 'data rejected', 'configuration') AND NOT EXISTS (
        SELECT FROM ops.breakers AS b WHERE b.dataset = failed.dataset AND b.closed_at >= failed.started_at
    );
END;
$$;

-- The sources whose change may fix a dataset: those with a rule for it, and the one that its last failed attempt read;
-- of a stopped dataset, the last attempt before it stopped.
CREATE OR REPLACE FUNCTION ops.sources_in_trouble(p_dataset text) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.source FROM control.sources AS s WHERE s.dataset = p_dataset AND s.source IS NOT NULL
    UNION
    SELECT newest.source
    FROM (
        SELECT a.source FROM ops.attempts AS a
        WHERE
            a.dataset = p_dataset AND a.state = 'failed'
            AND a.ended_at <= coalesce(
                (SELECT b.opened_at FROM ops.breakers AS b WHERE b.dataset = p_dataset AND b.closed_at IS NULL), 'infinity'
            )
        ORDER BY a.attempt_id DESC
        LIMIT 1
    ) AS newest
    WHERE newest.source IS NOT NULL
$$;

-- The latest attempt that landed a window of a dataset; null if none did. Changes are landed by a stage of their own.
CREATE OR REPLACE FUNCTION ops.newest_landing(p_dataset text) RETURNS ops.attempts
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.* FROM ops.attempts AS a
    WHERE a.dataset = p_dataset AND a.stage IN ('load', 'update_checkpoint') AND a.state = 'succeeded'
    ORDER BY a.attempt_id DESC
    LIMIT 1
$$;

-- A fingerprint of everything in the warehouse whose change may fix a dataset.
CREATE OR REPLACE FUNCTION ops.breaker_fingerprint(p_dataset text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT md5(concat_ws(
        '|',
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

-- Why a dataset is stopped, as a sentence; null if it is not. Found by its key.
CREATE OR REPLACE FUNCTION ops.stopped_because(p_dataset text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    SELECT
        p_dataset || ' is stopped since ' || to_char(b.opened_at, 'YYYY-MM-DD HH24:MI') || ' UTC: ' || b.reason
        || '; it resumes automatically once that is fixed'
    FROM ops.breakers AS b WHERE b.dataset = p_dataset AND b.closed_at IS NULL
$$;

-- Stops a dataset whose last windows failed in a row for one reason. Called when an attempt has failed for good;
-- p_fingerprint is of the moment it began, since the mistake may have been fixed meanwhile.
CREATE OR REPLACE FUNCTION ops.consider_breaker(p_dataset text, p_fingerprint text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    in_a_row CONSTANT integer := 3;
    newest ops.attempts;
    since CONSTANT integer := coalesce((ops.newest_landing(p_dataset)).attempt_id, 0);
    alike record;
BEGIN
    SELECT a.* INTO newest FROM ops.attempts AS a
    WHERE a.dataset = p_dataset AND a.state = 'failed' AND a.attempt_id > since
    ORDER BY a.attempt_id DESC LIMIT 1;
    -- A load that another one overtook is not a failure of the dataset.
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
            alike.window_ranges, p_fingerprint
        )
        ON CONFLICT (dataset) WHERE closed_at IS NULL DO NOTHING;
    END IF;
END;
$$;

-- A run of a dataset without a row in control.datasets waits, and its date is kept.
CREATE OR REPLACE FUNCTION ops.wait_for_dataset(p_dataset text, p_dag_id text, p_moment timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO ops.breakers AS b (dataset, error_kind, reason, window_ranges, fingerprint)
    SELECT
        p_dataset, 'not registered', 'the runs of ' || p_dag_id || ' wait until it has a row in control.datasets',
        tstzmultirange(tstzrange(p_moment, p_moment, '[]')), ''
    WHERE NOT EXISTS (SELECT FROM control.datasets AS d WHERE d.dataset = p_dataset)
    ON CONFLICT (dataset) WHERE closed_at IS NULL DO UPDATE
    SET
        window_ranges = b.window_ranges + excluded.window_ranges,
        -- An acknowledgement is of the runs before this one.
        opened_at = CASE
            WHEN EXISTS (
                SELECT FROM ops.incidents AS i
                WHERE i.kind = 'dataset stopped' AND i.subject = b.dataset AND i.acknowledged_at >= b.opened_at
            ) THEN ops.clock()
            ELSE b.opened_at
        END
$$;

-- Resumes a stopped dataset if something changed or one of its windows landed; windows of backfills that wait for it
-- are planned again. Returns why it is still stopped, else null.
CREATE OR REPLACE FUNCTION ops.still_stopped(p_dataset text, p_fingerprint text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE ops.breakers AS b
    SET closed_at = ops.clock(), resumed_at = NULL
    WHERE
        b.dataset = p_dataset AND b.closed_at IS NULL
        AND CASE b.error_kind
            WHEN 'not registered' THEN EXISTS (SELECT FROM control.datasets AS d WHERE d.dataset = p_dataset)
            ELSE
                b.fingerprint <> p_fingerprint
                -- A window that landed, by hand or as the hourly trial, shows that it is fixed.
                OR b.opened_at <= (ops.newest_landing(p_dataset)).started_at
        END;
    IF NOT found THEN
        RETURN ops.stopped_because(p_dataset);
    END IF;
    -- Except those that another backfill has requested meanwhile.
    PERFORM ops.take_turn('backfills of ' || p_dataset);
    UPDATE control.backfill_windows AS w
    SET state = 'planned', error = NULL, ended_at = NULL
    FROM control.backfills AS k
    WHERE
        w.backfill_id = k.backfill_id AND k.dataset = p_dataset AND k.state = 'paused' AND k.held_by = 'policy'
        AND w.state = 'failed' AND control.overlap_of(p_dataset, ARRAY[w.window_range], k.backfill_id) IS NULL;
    RETURN NULL;
END;
$$;

-- Whether one window of a stopped dataset may be tried now, in case it was fixed where the warehouse cannot see it: at
-- the source or in a connection. Once an hour, even if the clock was set back. With p_take the caller takes the trial.
CREATE OR REPLACE FUNCTION ops.let_one_through(p_dataset text, p_take boolean DEFAULT TRUE) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    every CONSTANT interval := '1 hour';
    moment CONSTANT timestamptz := ops.clock();
    chosen ops.breakers;
BEGIN
    SELECT b.* INTO chosen FROM ops.breakers AS b
    WHERE
        b.dataset = p_dataset AND b.closed_at IS NULL AND b.error_kind <> 'not registered'
        AND NOT (
            coalesce(b.resumed_at, b.opened_at) <= moment AND moment < coalesce(b.resumed_at, b.opened_at) + every
        );
    IF chosen.breaker_id IS NULL OR NOT p_take THEN
        RETURN chosen.breaker_id IS NOT NULL;
    END IF;
    -- Of several concurrent callers the first takes it.
    UPDATE ops.breakers AS b SET resumed_at = moment
    WHERE
        b.breaker_id = chosen.breaker_id AND b.closed_at IS NULL
        AND b.resumed_at IS NOT DISTINCT FROM chosen.resumed_at;
    RETURN found;
END;
$$;

COMMENT ON COLUMN ops.breakers.resumed_at IS
'Of one that is open, when a window was last let through; of one that is closed, when a backfill of what was not tried
was requested';

-- Records that a backfill was requested for the windows that a breaker had kept from being tried.
CREATE OR REPLACE FUNCTION ops.breaker_resumed(p_breaker bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE ops.breakers AS b SET resumed_at = ops.clock() WHERE b.breaker_id = p_breaker AND b.closed_at IS NOT NULL
$$;

REVOKE EXECUTE ON FUNCTION
ops.failure_reason, ops.waits_for_person, ops.sources_in_trouble, ops.newest_landing, ops.breaker_fingerprint,
ops.stopped_because, ops.consider_breaker, ops.wait_for_dataset, ops.still_stopped, ops.let_one_through,
ops.breaker_resumed
FROM public;
GRANT EXECUTE ON FUNCTION ops.stopped_because TO loader, analyst, operator;
GRANT EXECUTE ON FUNCTION
ops.sources_in_trouble, ops.breaker_fingerprint, ops.consider_breaker, ops.wait_for_dataset, ops.still_stopped,
ops.let_one_through, ops.breaker_resumed
TO loader;
GRANT SELECT ON ops.breakers TO loader, analyst;
