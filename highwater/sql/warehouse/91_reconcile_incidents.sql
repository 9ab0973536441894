-- The check that opens, extends, escalates and closes incidents. Run as publisher; again is harmless.

-- Marks the attempts as lost whose process died. An UPDATE rechecks a row that was changed meanwhile; a view would
-- count an attempt as dead that ended after its snapshot was taken, since locks are always read as they are now.
CREATE OR REPLACE FUNCTION ops.mark_lost_attempts() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE ops.attempts AS dead
    SET state = 'lost'
    WHERE
        dead.state = 'running'
        AND NOT EXISTS (SELECT FROM ops.live_attempts AS live WHERE live.attempt_id = dead.attempt_id)
$$;

-- Opens an incident for a trouble, or extends the open one; returns whether it opened one.
CREATE OR REPLACE FUNCTION ops.record_trouble(p_trouble ops.current_troubles) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    incident ops.incidents;
    is_new boolean;
BEGIN
    -- An acknowledgement covers what was there before it; what is newer is a new incident.
    UPDATE ops.incidents AS i SET closed_at = ops.clock()
    FROM control.incident_kinds AS k
    WHERE
        i.closed_at IS NULL AND i.kind = p_trouble.kind AND i.subject = p_trouble.subject
        AND k.kind = i.kind AND k.needs_person AND i.acknowledged_at < p_trouble.since
    RETURNING i.* INTO incident;
    IF found THEN
        PERFORM ops.enqueue_alert(incident, 'closed');
    END IF;
    UPDATE ops.incidents AS i
    SET
        last_seen_at = ops.clock(),
        window_ranges = i.window_ranges + p_trouble.window_ranges,
        datasets = (SELECT array_agg(DISTINCT d ORDER BY d) FROM unnest(i.datasets || p_trouble.datasets) AS d)
    WHERE i.closed_at IS NULL AND i.kind = p_trouble.kind AND i.subject = p_trouble.subject
    RETURNING i.* INTO incident;
    is_new := NOT found;
    IF is_new THEN
        INSERT INTO ops.incidents AS i (kind, subject, datasets, since, window_ranges, opened_at, last_seen_at)
        VALUES (
            p_trouble.kind, p_trouble.subject, p_trouble.datasets, p_trouble.since, p_trouble.window_ranges, ops.clock(),
            ops.clock()
        )
        RETURNING i.* INTO incident;
    END IF;
    INSERT INTO ops.incident_attempts (incident_id, attempt_id)
    SELECT incident.incident_id, a FROM unnest(p_trouble.attempts) AS a
    ON CONFLICT DO NOTHING;
    IF is_new THEN
        PERFORM ops.enqueue_alert(incident, 'opened');
    END IF;
    RETURN is_new;
END;
$$;

-- Closes an incident; returns whether it was open.
CREATE OR REPLACE FUNCTION ops.close_incident(p_incident bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    incident ops.incidents;
BEGIN
    UPDATE ops.incidents AS i SET closed_at = ops.clock()
    WHERE i.incident_id = p_incident AND i.closed_at IS NULL
    RETURNING i.* INTO incident;
    IF found THEN
        PERFORM ops.enqueue_alert(incident, 'closed');
    END IF;
    RETURN incident.incident_id IS NOT NULL;
END;
$$;

-- Escalates an incident; returns whether it was open.
CREATE OR REPLACE FUNCTION ops.escalate_incident(p_incident bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    incident ops.incidents;
BEGIN
    UPDATE ops.incidents AS i SET escalated_at = ops.clock()
    WHERE i.incident_id = p_incident AND i.closed_at IS NULL AND i.acknowledged_at IS NULL
    RETURNING i.* INTO incident;
    IF found THEN
        PERFORM ops.enqueue_alert(incident, 'escalated');
    END IF;
    RETURN incident.incident_id IS NOT NULL;
END;
$$;

-- What there is to do about these troubles, in order: incidents to close, unless p_sees_all is false, since a trouble
-- that cannot be read is not over; troubles to record; incidents to escalate. With the error message for each.
CREATE OR REPLACE FUNCTION ops.incident_steps(p_troubles ops.current_troubles[], p_sees_all boolean)
RETURNS TABLE (action text, incident_id bigint, trouble ops.current_troubles, failed text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    SELECT s.action, s.incident_id, s.trouble, s.failed
    FROM (
        SELECT
            1 AS place, 'close' AS action, i.incident_id, NULL::ops.current_troubles AS trouble,
            'incident ' || i.incident_id || ' cannot be closed' AS failed
        FROM ops.incidents AS i
        INNER JOIN control.incident_kinds AS k USING (kind)
        WHERE
            p_sees_all AND i.closed_at IS NULL AND (NOT k.needs_person OR i.acknowledged_at IS NOT NULL)
            AND NOT EXISTS (SELECT FROM unnest(p_troubles) AS t WHERE t.kind = i.kind AND t.subject = i.subject)
        UNION ALL
        SELECT 2, 'record', NULL, t, t.kind || ' of ' || left(t.subject, 200) || ' cannot be recorded'
        FROM unnest(p_troubles) AS t
        UNION ALL
        SELECT 3, 'escalate', i.incident_id, NULL, 'incident ' || i.incident_id || ' cannot be escalated'
        FROM ops.incidents AS i
        INNER JOIN control.incident_kinds AS k USING (kind)
        WHERE
            i.closed_at IS NULL AND i.escalated_at IS NULL AND i.acknowledged_at IS NULL
            AND k.is_trouble AND ops.clock() >= i.opened_at + k.escalate_after
    ) AS s
    ORDER BY s.place, s.incident_id, (s.trouble).since, (s.trouble).kind, (s.trouble).subject
$$;

-- Records whether the check for incidents itself works, as the health check "incidents", if that changed. Failures are
-- an incident of their own; returns whether it was opened now.
CREATE OR REPLACE FUNCTION ops.record_check_failures(p_failures text[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    own_subject CONSTANT text := 'incidents';
    was_well boolean;
BEGIN
    SELECT h.verdict = 'well' INTO was_well FROM ops.health_checks AS h
    WHERE h.check_name = own_subject ORDER BY h.check_id DESC LIMIT 1;
    IF (p_failures <> '{}') = coalesce(was_well, TRUE) THEN
        INSERT INTO ops.health_checks (check_name, verdict, detail, seconds, run_id)
        VALUES (
            own_subject, CASE p_failures WHEN '{}' THEN 'well' ELSE 'unwell' END,
            control.cut(coalesce(nullif(array_to_string(p_failures, '; '), ''), 'every trouble can be recorded again')), 0,
            'the check for incidents'
        );
    END IF;
    RETURN p_failures <> '{}' AND ops.record_trouble(row(
        'platform unhealthy', own_subject,
        (
            SELECT coalesce(array_agg(d.dataset ORDER BY d.dataset), '{}') FROM control.datasets AS d WHERE d.critical
        ),
        ops.clock(), '{}', '{}'
    )::ops.current_troubles);
END;
$$;

-- Compares the current troubles with the open incidents: opens, extends, escalates and closes these, and adds alerts to
-- the outbox. May run at any time; concurrent calls wait for each other. Returns what it did. A trouble that cannot be
-- recorded does not affect the others; it makes the health check "incidents" unwell, which is an incident itself.
CREATE OR REPLACE FUNCTION ops.reconcile_incidents(OUT opened integer, OUT escalated integer, OUT closed integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    troubles ops.current_troubles[] := '{}';
    step record;
    failure text;
    failures text[] := '{}';
    sees_all boolean := TRUE;
BEGIN
    opened := 0;
    escalated := 0;
    closed := 0;
    PERFORM ops.mark_lost_attempts();
    PERFORM ops.end_first_loads();
    BEGIN
        IF NOT EXISTS (SELECT FROM ops.current_troubles)
            AND NOT EXISTS (SELECT FROM ops.incidents AS i WHERE i.closed_at IS NULL) THEN
            RETURN;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        -- The second read, below, reports it.
        sees_all := FALSE;
    END;
    PERFORM ops.take_turn('incidents');
    -- Read after the lock is taken, so that everything committed by then is seen.
    BEGIN
        troubles := ARRAY(SELECT t FROM ops.current_troubles AS t);
        sees_all := TRUE;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT;
        sees_all := FALSE;
        failures := failures || format('the current troubles cannot be read: %s', failure);
    END;
    FOR step IN SELECT * FROM ops.incident_steps(troubles, sees_all) LOOP
        BEGIN
            CASE step.action
                WHEN 'close' THEN closed := closed + ops.close_incident(step.incident_id)::integer;
                WHEN 'record' THEN opened := opened + ops.record_trouble(step.trouble)::integer;
                WHEN 'escalate' THEN escalated := escalated + ops.escalate_incident(step.incident_id)::integer;
            END CASE;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT;
            failures := failures || format('%s: %s', step.failed, failure);
        END;
    END LOOP;
    opened := opened + ops.record_check_failures(failures)::integer;
END;
$$;

REVOKE EXECUTE ON FUNCTION
ops.mark_lost_attempts, ops.record_trouble, ops.close_incident, ops.escalate_incident, ops.incident_steps,
ops.record_check_failures, ops.reconcile_incidents
FROM public;
GRANT EXECUTE ON FUNCTION ops.reconcile_incidents TO loader;
