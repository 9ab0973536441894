-- The check that opens, extends, escalates and closes incidents. Run as publisher; again is harmless.

-- Opens an incident for a trouble, or extends the open one; returns whether it opened one.
CREATE OR REPLACE FUNCTION ops.take_in_trouble(
    p_kind text, p_subject text, p_datasets text[], p_since timestamptz, p_windows tstzmultirange, p_attempts integer[]
) RETURNS boolean
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
        i.closed_at IS NULL AND i.kind = p_kind AND i.subject = p_subject
        AND k.kind = i.kind AND k.needs_person AND i.acknowledged_at < p_since
    RETURNING i.* INTO incident;
    IF found THEN
        PERFORM ops.enqueue_alert(incident, 'closed');
    END IF;
    UPDATE ops.incidents AS i
    SET
        last_seen_at = ops.clock(),
        window_ranges = i.window_ranges + p_windows,
        datasets = (SELECT array_agg(DISTINCT d ORDER BY d) FROM unnest(i.datasets || p_datasets) AS d)
    WHERE i.closed_at IS NULL AND i.kind = p_kind AND i.subject = p_subject
    RETURNING i.* INTO incident;
    is_new := NOT found;
    IF is_new THEN
        INSERT INTO ops.incidents AS i (kind, subject, datasets, since, window_ranges, opened_at, last_seen_at)
        VALUES (p_kind, p_subject, p_datasets, p_since, p_windows, ops.clock(), ops.clock())
        RETURNING i.* INTO incident;
    END IF;
    INSERT INTO ops.incident_attempts (incident_id, attempt_id)
    SELECT incident.incident_id, a FROM unnest(p_attempts) AS a
    ON CONFLICT DO NOTHING;
    IF is_new THEN
        PERFORM ops.enqueue_alert(incident, 'opened');
    END IF;
    RETURN is_new;
END;
$$;

-- Compares the current troubles with the open incidents: opens, extends, escalates and closes these, and adds alerts to
-- the outbox. May run at any time; concurrent calls wait for each other. Returns what it did. A trouble that cannot be
-- recorded does not affect the others; it makes the health check "incidents" unwell, which is an incident itself.
CREATE OR REPLACE FUNCTION ops.reconcile_incidents(OUT opened integer, OUT escalated integer, OUT closed integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    -- The incident about failures of this check itself.
    own_kind CONSTANT text := 'platform unhealthy';
    own_subject CONSTANT text := 'incidents';
    incident ops.incidents;
    trouble record;
    failure text;
    failures text[] := '{}';
    sees_all boolean := TRUE;
    was_well boolean;
BEGIN
    opened := 0;
    escalated := 0;
    closed := 0;
    -- An UPDATE rechecks a row that was changed meanwhile. A view would count an attempt as dead that ended after its
    -- snapshot was taken, since locks are always read as they are now.
    UPDATE ops.attempts AS dead
    SET state = 'lost'
    WHERE
        dead.state = 'running'
        AND NOT EXISTS (SELECT FROM ops.live_attempts AS live WHERE live.attempt_id = dead.attempt_id);
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
    -- Read after the lock is taken, so that everything committed by then is seen.
    PERFORM ops.take_turn('incidents');
    CREATE TEMPORARY TABLE now_troubled (LIKE ops.current_troubles) ON COMMIT DROP;
    BEGIN
        INSERT INTO now_troubled SELECT * FROM ops.current_troubles;
        sees_all := TRUE;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT;
        sees_all := FALSE;
        failures := failures || format('the current troubles cannot be read: %s', failure);
    END;

    -- If the troubles cannot be read, no incident is over.
    FOR incident IN
        SELECT i.*
        FROM ops.incidents AS i INNER JOIN control.incident_kinds AS k USING (kind)
        WHERE
            sees_all AND i.closed_at IS NULL AND (NOT k.needs_person OR i.acknowledged_at IS NOT NULL)
            AND NOT EXISTS (SELECT FROM now_troubled AS t WHERE t.kind = i.kind AND t.subject = i.subject)
        ORDER BY i.incident_id
    LOOP
        BEGIN
            UPDATE ops.incidents AS i SET closed_at = ops.clock() WHERE i.incident_id = incident.incident_id
            RETURNING i.* INTO incident;
            PERFORM ops.enqueue_alert(incident, 'closed');
            closed := closed + 1;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT;
            failures := failures || format('incident %s cannot be closed: %s', incident.incident_id, failure);
        END;
    END LOOP;

    FOR trouble IN SELECT * FROM now_troubled AS t ORDER BY t.since, t.kind, t.subject LOOP
        BEGIN
            opened := opened + ops.take_in_trouble(
                trouble.kind, trouble.subject, trouble.datasets, trouble.since, trouble.window_ranges, trouble.attempts
            )::integer;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT;
            failures := failures
                || format('%s of %s cannot be recorded: %s', trouble.kind, left(trouble.subject, 200), failure);
        END;
    END LOOP;

    FOR incident IN
        SELECT i.*
        FROM ops.incidents AS i INNER JOIN control.incident_kinds AS k USING (kind)
        WHERE
            i.closed_at IS NULL AND i.escalated_at IS NULL AND i.acknowledged_at IS NULL
            AND k.is_trouble AND ops.clock() >= i.opened_at + k.escalate_after
        ORDER BY i.incident_id
    LOOP
        BEGIN
            UPDATE ops.incidents AS i SET escalated_at = ops.clock() WHERE i.incident_id = incident.incident_id
            RETURNING i.* INTO incident;
            PERFORM ops.enqueue_alert(incident, 'escalated');
            escalated := escalated + 1;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT;
            failures := failures || format('incident %s cannot be escalated: %s', incident.incident_id, failure);
        END;
    END LOOP;
    DROP TABLE now_troubled;

    SELECT h.verdict = 'well' INTO was_well FROM ops.health_checks AS h
    WHERE h.check_name = own_subject ORDER BY h.check_id DESC LIMIT 1;
    IF (failures <> '{}') = coalesce(was_well, TRUE) THEN
        INSERT INTO ops.health_checks (check_name, verdict, detail, seconds, run_id)
        VALUES (
            own_subject, CASE failures WHEN '{}' THEN 'well' ELSE 'unwell' END,
            control.cut(coalesce(nullif(array_to_string(failures, '; '), ''), 'every trouble can be recorded again')), 0,
            'the check for incidents'
        );
    END IF;
    IF failures <> '{}' THEN
        opened := opened + ops.take_in_trouble(
            own_kind, own_subject,
            (
                SELECT coalesce(array_agg(d.dataset ORDER BY d.dataset), '{}') FROM control.datasets AS d WHERE d.critical
            ),
            ops.clock(), '{}', '{}'
        )::integer;
    END IF;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.take_in_trouble, ops.reconcile_incidents FROM public;
GRANT EXECUTE ON FUNCTION ops.reconcile_incidents TO loader;
