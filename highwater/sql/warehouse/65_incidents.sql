-- Incidents: one row per trouble from its first sign to its end, and the alerts about it. No task opens one: each check
-- compares the troubles that attempts and ledger show with the open incidents. So a killed task is noticed too, and an
-- incident closes when the record shows that its cause is gone. Run as publisher; again is harmless.

-- One row per attempt that failed for good, died, or found its source unavailable, at a window that is wanted and in
-- the grid.
CREATE OR REPLACE VIEW ops.failed_attempts AS
WITH datasets AS MATERIALIZED (
    SELECT
        d.dataset,
        d.grid,
        d AS known,
        control.unwanted(d.dataset, ops.clock()) AS unwanted
    FROM control.datasets AS d
)

SELECT
    a.attempt_id,
    a.dataset,
    a.window_range,
    a.run_id,
    a.stage,
    a.state,
    a.started_at,
    a.ended_at,
    a.error_kind,
    a.source,
    d.grid
FROM ops.attempts AS a
INNER JOIN datasets AS d ON a.dataset = d.dataset
WHERE
    (a.state IN ('failed', 'lost') OR (a.state = 'retrying' AND a.error_kind = 'source unavailable'))
    AND a.error_kind IS DISTINCT FROM 'held'
    AND NOT d.unwanted @> a.window_range
    AND (d.grid = 'watermark' OR control.is_step(d.known, a.window_range));

-- The failed attempts whose work has not been done since: by the same stage (of any window, if the source failed or the
-- dataset has no fixed windows), or by a load of the window.
CREATE OR REPLACE VIEW ops.undone_attempts AS
SELECT
    a.attempt_id,
    a.dataset,
    a.window_range,
    a.stage,
    a.started_at,
    a.ended_at,
    a.error_kind,
    a.source
FROM ops.failed_attempts AS a
WHERE
    -- OFFSET is a fence: the attempts of one window are looked up, never all that succeeded.
    NOT EXISTS (
        SELECT FROM ops.attempts AS later
        WHERE
            later.state = 'succeeded' AND later.dataset = a.dataset
            AND lower(later.window_range) = lower(a.window_range) AND later.window_range = a.window_range
            AND (
                (later.attempt_id > a.attempt_id AND later.stage IN (a.stage, 'load', 'update_checkpoint'))
                -- An orphan died, but another attempt of its run completed the same stage.
                OR (
                    a.state = 'lost' AND later.stage = a.stage AND later.run_id = a.run_id
                    AND later.ended_at >= a.started_at
                )
            )
        ORDER BY later.attempt_id
        OFFSET 0
    )
    AND NOT (
        -- A killed attempt has no kind of error.
        (a.grid = 'watermark' OR a.error_kind IS NOT DISTINCT FROM 'source unavailable')
        AND EXISTS (
            SELECT FROM ops.attempts AS later
            WHERE
                later.state = 'succeeded' AND later.dataset = a.dataset AND later.stage = a.stage
                AND later.attempt_id > a.attempt_id
        )
    )
    AND NOT (
        a.grid = 'watermark'
        AND EXISTS (
            SELECT FROM ops.attempts AS later
            WHERE
                later.state = 'succeeded' AND later.dataset = a.dataset
                AND later.stage IN ('load', 'update_checkpoint') AND later.attempt_id > a.attempt_id
        )
    )
    -- It died after it had published, and the summary has been written since.
    AND NOT EXISTS (
        SELECT FROM ops.attempts AS finished
        WHERE
            a.state = 'lost' AND a.stage = 'load' AND finished.stage = 'summarise' AND finished.state = 'succeeded'
            AND finished.dataset = a.dataset AND finished.window_range = a.window_range
            AND finished.run_id = a.run_id AND finished.attempt_id > a.attempt_id
    );

-- The undone attempts at windows about which nobody has decided: not skipped, not held since the attempt began, and no
-- version of them acknowledged.
CREATE OR REPLACE VIEW ops.unresolved_attempts AS
SELECT
    a.attempt_id,
    a.dataset,
    a.window_range,
    a.stage,
    a.started_at,
    a.error_kind,
    a.source
FROM ops.undone_attempts AS a
WHERE
    NOT EXISTS (
        SELECT FROM ops.skipped_windows AS s
        WHERE s.dataset = a.dataset AND s.window_range = a.window_range
    )
    -- The window was held when the attempt began, or has been since.
    AND NOT EXISTS (
        SELECT FROM ops.holds AS h
        WHERE
            h.dataset = a.dataset AND h.window_range = a.window_range
            AND (
                h.held_at >= a.started_at
                OR h.released_at >= a.started_at
                OR h.hold_id IN (SELECT w.hold_id FROM ops.held_windows AS w)
            )
    )
    AND NOT EXISTS (
        SELECT FROM ops.incident_attempts AS k
        INNER JOIN ops.incidents AS i USING (incident_id)
        INNER JOIN ops.window_ledger AS l ON l.dataset = a.dataset AND l.window_range = a.window_range
        WHERE k.attempt_id = a.attempt_id AND i.acknowledged_at >= coalesce(a.ended_at, a.started_at)
    );

-- One row per attempt or dataset that is in trouble now. Stale data counts once nothing new has landed for an hour:
-- until then the dataset is catching up.
CREATE OR REPLACE VIEW ops.loading_troubles AS
SELECT
    CASE u.error_kind
        WHEN 'source unavailable' THEN 'source unavailable'
        WHEN 'audit failed' THEN 'audit failed'
        WHEN 'integrity broken' THEN 'integrity broken'
        ELSE 'load failed'
    END AS kind,
    CASE u.error_kind WHEN 'source unavailable' THEN coalesce(u.source, u.dataset) ELSE u.dataset END AS subject,
    u.dataset,
    u.started_at AS since,
    tstzmultirange(u.window_range) AS window_ranges,
    u.attempt_id
FROM ops.unresolved_attempts AS u
-- The failures that stopped a dataset, and its hourly trials since, are one trouble: that of the dataset. Its windows
-- are loaded automatically when that is over.
WHERE
    u.error_kind IS NULL
    OR u.error_kind NOT IN ('audit failed', 'data rejected', 'configuration')
    OR NOT EXISTS (
        SELECT FROM ops.breakers AS b
        WHERE
            b.dataset = u.dataset AND b.error_kind <> 'not registered'
            AND coalesce(b.closed_at, 'infinity') >= u.started_at
            AND (b.window_ranges @> u.window_range OR b.opened_at <= u.started_at)
    )
UNION ALL
SELECT
    'freshness exceeded' AS kind,
    f.dataset AS subject,
    f.dataset,
    f.landed_until + f.max_lag AS since,
    '{}'::tstzmultirange AS window_ranges,
    NULL AS attempt_id
FROM ops.freshness AS f
WHERE
    f.is_stale
    AND f.landed_until IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM ops.first_landings AS l
        WHERE
            l.dataset = f.dataset
            -- Without what landed while a clock was ahead.
            AND l.landed_at > ops.clock() - '1 hour'::interval AND l.landed_at <= ops.clock()
            AND l.latest_landed_at > ops.clock() - '1 hour'::interval
    );

-- The title of an incident in all its messages: subject, kind and since when.
CREATE OR REPLACE FUNCTION ops.incident_title(incident ops.incidents) RETURNS text
LANGUAGE sql STABLE SET timezone = 'UTC'
RETURN incident.subject || ': ' || incident.kind || to_char(incident.since, '" since "YYYY-MM-DD HH24:MI" UTC"');

-- Adds the alert about an event to the outbox, once. It has names, counts and moments, but no errors: these may quote
-- rows.
CREATE OR REPLACE FUNCTION ops.enqueue_alert(incident ops.incidents, p_event text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    INSERT INTO ops.alerts (incident_id, event, title, body, created_at)
    SELECT
        incident.incident_id,
        p_event,
        CASE p_event WHEN 'opened' THEN '' WHEN 'escalated' THEN 'still: ' ELSE 'over: ' END || ops.incident_title(incident)
        || CASE w.windows
            WHEN 0 THEN ''
            WHEN 1 THEN ' (window ' || to_char(lower(incident.window_ranges), 'YYYY-MM-DD HH24:MI') || ')'
            ELSE ' (' || w.windows || ' windows from ' || to_char(lower(incident.window_ranges), 'YYYY-MM-DD HH24:MI')
                || ' to ' || to_char(upper(incident.window_ranges), 'YYYY-MM-DD HH24:MI') || ')'
        END,
        concat_ws(
            E'\n',
            CASE p_event
                WHEN 'closed' THEN 'Closed after ' || date_trunc('second', ops.clock() - incident.since) || ': '
                    || CASE
                        WHEN incident.kind IN ('load failed', 'audit failed') AND EXISTS (
                            SELECT FROM ops.breakers AS b WHERE b.dataset = incident.subject AND b.closed_at IS NULL
                        ) THEN 'the dataset is stopped, which is an incident of its own.'
                        WHEN incident.acknowledged_at IS NOT NULL
                            THEN 'nothing is left to do, and ' || incident.acknowledged_by || ' has acknowledged it.'
                        ELSE 'the warehouse shows that its cause is gone.'
                    END
                ELSE k.advice
            END,
            'Datasets: ' || array_to_string(incident.datasets, ', ') || '.',
            'Windows: ' || nullif(w.windows, 0) || ' from ' || to_char(lower(incident.window_ranges), 'YYYY-MM-DD HH24:MI')
            || ' to ' || to_char(upper(incident.window_ranges), 'YYYY-MM-DD HH24:MI') || ' UTC; '
            || 'failed attempts so far: '
            || (SELECT count(*) FROM ops.incident_attempts AS i WHERE i.incident_id = incident.incident_id) || '.',
            CASE WHEN p_event <> 'closed' AND k.needs_person
                THEN 'It stays open until a person has acknowledged it: scripts/highwater incidents acknowledge '
                || incident.incident_id END,
            'See: scripts/highwater incidents list; scripts/highwater status.',
            'Incident ' || incident.incident_id || ', ' || p_event || ' at ' || to_char(ops.clock(), 'YYYY-MM-DD HH24:MI:SS')
            || ' UTC.'
        ),
        ops.clock()
    FROM control.incident_kinds AS k
    CROSS JOIN LATERAL (
        SELECT CASE incident.kind
            -- The ranges are those of all its datasets together; a window may be missing in one of them only.
            WHEN 'outage found' THEN (
                SELECT sum(
                    control.windows_in(d, incident.window_ranges)
                    - (
                        SELECT count(*) FROM ops.window_ledger AS l
                        WHERE
                            l.dataset = d.dataset AND incident.window_ranges @> l.window_range
                            AND l.landed_at < incident.opened_at
                    )
                )
                FROM control.datasets AS d WHERE d.dataset = ANY(incident.datasets)
            )
            ELSE (
                SELECT coalesce(sum(ceil(extract(EPOCH FROM upper(r) - lower(r)) / (
                    SELECT extract(EPOCH FROM min(d.step)) FROM control.datasets AS d
                    WHERE d.dataset = ANY(incident.datasets)
                ))), 0)
                FROM unnest(incident.window_ranges) AS r
            )
        END::bigint AS windows
    ) AS w
    WHERE k.kind = incident.kind AND k.is_trouble
    ON CONFLICT (incident_id, event) DO NOTHING
$$;

-- Records that a person has seen an incident: it is not escalated any more, and may close.
CREATE OR REPLACE FUNCTION ops.acknowledge_incident(p_incident bigint, p_by text, p_note text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    p_by := control.words('by', p_by, 'HW007');
    p_note := control.words('note', p_note, 'HW007');
    UPDATE ops.incidents AS i
    SET acknowledged_at = ops.clock(), acknowledged_by = p_by, note = p_note
    WHERE i.incident_id = p_incident AND i.closed_at IS NULL;
    IF NOT found THEN
        RAISE EXCEPTION 'incident % is not open; open: %', p_incident,
            (SELECT coalesce(string_agg(i.incident_id::text, ', ' ORDER BY i.incident_id), 'none')
             FROM ops.incidents AS i WHERE i.closed_at IS NULL)
            USING ERRCODE = 'HW007';
    END IF;
END;
$$;

-- The next message to send to one of these addresses, no row if none is ready. Messages to an address keep their order:
-- while one waits for a retry, the later ones wait too. The caller holds the lease on the outbox.
CREATE OR REPLACE FUNCTION ops.next_delivery(p_destinations text[])
RETURNS TABLE (alert_no bigint, destination text, tries integer, alert_id uuid, event text, title text, body text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    WITH addressed AS (
        UPDATE ops.alerts AS a SET addressed = TRUE WHERE NOT a.addressed RETURNING a.alert_no
    )
    INSERT INTO ops.alert_deliveries (alert_no, destination)
    SELECT n.alert_no, d FROM addressed AS n CROSS JOIN unnest(p_destinations) AS d;

    UPDATE ops.alert_deliveries AS v
    SET state = 'withdrawn'
    WHERE v.state = 'pending' AND v.destination <> ALL(p_destinations);

    RETURN QUERY
    SELECT v.alert_no, v.destination, v.tries, a.alert_id, a.event, a.title, a.body
    FROM (
        SELECT DISTINCT ON (p.destination) p.* FROM ops.alert_deliveries AS p
        WHERE p.state = 'pending'
        ORDER BY p.destination, p.alert_no
    ) AS v
    INNER JOIN ops.alerts AS a ON v.alert_no = a.alert_no
    -- If the clock was set back, a message waits no longer than the longest wait.
    WHERE v.next_try_at IS NULL OR ops.clock() NOT BETWEEN v.next_try_at - '15 minutes'::interval AND v.next_try_at
    ORDER BY v.alert_no, v.destination
    LIMIT 1;
END;
$$;

-- Records the result of a delivery. After a failure the wait doubles, up to a quarter of an hour; after p_most_tries
-- the message is given up.
CREATE OR REPLACE FUNCTION ops.record_delivery(
    p_alert bigint, p_destination text, p_error text, p_most_tries integer
) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE ops.alert_deliveries AS v
    SET
        tries = v.tries + 1,
        state = CASE
            WHEN p_error IS NULL THEN 'sent'
            WHEN v.tries + 1 >= p_most_tries THEN 'given up'
            ELSE 'pending'
        END,
        last_error = p_error,
        sent_at = CASE WHEN p_error IS NULL THEN ops.clock() END,
        next_try_at = CASE WHEN p_error IS NOT NULL
            THEN ops.clock() + least('15 minutes'::interval, '10 seconds'::interval * 2 ^ least(v.tries, 10)) END
    WHERE v.alert_no = p_alert AND v.destination = p_destination AND v.state = 'pending'
    RETURNING v.state
$$;

REVOKE EXECUTE ON FUNCTION
ops.incident_title, ops.enqueue_alert, ops.acknowledge_incident, ops.next_delivery, ops.record_delivery
FROM public;
GRANT EXECUTE ON FUNCTION ops.next_delivery, ops.record_delivery TO loader;
-- Only a person acknowledges.
REVOKE EXECUTE ON FUNCTION ops.acknowledge_incident FROM loader;
GRANT EXECUTE ON FUNCTION ops.acknowledge_incident TO operator;
GRANT SELECT ON
control.incident_kinds, ops.incidents, ops.incident_attempts, ops.alerts, ops.alert_deliveries, ops.failed_attempts,
ops.undone_attempts, ops.unresolved_attempts, ops.loading_troubles
TO loader, analyst;
