-- Records the result of a health check, with the time of the database.
CREATE OR REPLACE FUNCTION ops.record_health_check(
    p_check text, p_verdict text, p_detail text, p_seconds numeric, p_run_id text
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO ops.health_checks (check_name, verdict, detail, seconds, run_id)
    VALUES (p_check, p_verdict, control.cut(p_detail), p_seconds, p_run_id)
$$;

-- Records the result of an integrity check of recovered windows, with the time of the database.
CREATE OR REPLACE FUNCTION ops.record_integrity_check(
    p_dataset text, p_check text, p_windows tstzrange[], p_verdict text, p_detail text, p_run_id text
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO ops.integrity_checks (dataset, check_name, window_ranges, verdict, detail, run_id)
    SELECT p_dataset, p_check, range_agg(w), p_verdict, control.cut(p_detail), p_run_id FROM unnest(p_windows) AS w
$$;

REVOKE EXECUTE ON FUNCTION ops.record_health_check, ops.record_integrity_check FROM public;
GRANT EXECUTE ON FUNCTION ops.record_health_check, ops.record_integrity_check TO loader;
REVOKE INSERT ON ops.health_checks, ops.integrity_checks FROM loader;
GRANT SELECT ON ops.health_checks, ops.integrity_checks TO loader, analyst;

-- One row per dataset of the recovery with missing due windows, except the first load of its history: how many there
-- are, and how many landed and became due in the last twelve hours.
CREATE OR REPLACE VIEW ops.recovery_backlogs AS
SELECT
    m.dataset,
    m.dag_id,
    m.window_ranges,
    (
        SELECT sum(ceil(extract(EPOCH FROM upper(r) - lower(r)) / extract(EPOCH FROM m.step)))
        FROM unnest(m.window_ranges) AS r
    ) AS windows,
    (
        SELECT count(*) FROM ops.first_landings AS l
        WHERE
            l.dataset = m.dataset AND l.landed_at > ops.clock() - '12 hours'::interval
            AND l.latest_landed_at > ops.clock() - '12 hours'::interval
    ) AS landed_lately,
    extract(EPOCH FROM '12 hours'::interval) / extract(EPOCH FROM m.step) AS due_lately,
    open_outage.since AS outage_since
FROM (
    SELECT
        d.dataset,
        d.dag_id,
        d.step,
        range_agg(g.window_range) - coalesce(h.window_ranges, '{}'::tstzmultirange) AS window_ranges
    FROM ops.gaps AS g
    INNER JOIN control.datasets AS d USING (dataset)
    LEFT JOIN ops.history_to_load AS h USING (dataset)
    WHERE d.dag_id = 'system_recovery_processing'
    GROUP BY d.dataset, d.dag_id, d.step, h.window_ranges
) AS m
LEFT JOIN LATERAL (
    SELECT i.opened_at AS since FROM ops.incidents AS i
    WHERE i.kind = 'outage found' AND i.subject = m.dag_id AND i.closed_at IS NULL
) AS open_outage ON TRUE
WHERE NOT isempty(m.window_ranges);

-- One row per outage or growing backlog. Three missing due windows of a dataset are an outage, which lasts until none
-- is missing. The backlog grows when within twelve hours more windows became due than landed for the first time.
CREATE OR REPLACE VIEW ops.backlog_troubles AS
SELECT
    t.kind,
    CASE t.kind WHEN 'outage found' THEN b.dag_id ELSE b.dataset END AS subject,
    b.dataset,
    lower(b.window_ranges) AS since,
    b.window_ranges
FROM ops.recovery_backlogs AS b
CROSS JOIN
    LATERAL (
        SELECT 'outage found' AS kind
        WHERE b.windows >= 3 OR b.outage_since IS NOT NULL
        UNION ALL
        SELECT 'backlog growing' AS kind
        WHERE
            b.windows >= 3 AND b.landed_lately < b.due_lately
            AND b.outage_since < ops.clock() - '12 hours'::interval
    ) AS t;

-- One row per dataset whose history is loaded for the first time: that is not an outage.
CREATE OR REPLACE VIEW ops.first_load_troubles AS
SELECT
    'first load of history' AS kind,
    d.dag_id AS subject,
    h.dataset,
    lower(h.window_ranges) AS since,
    h.window_ranges
FROM ops.history_to_load AS h
INNER JOIN control.datasets AS d USING (dataset)
WHERE d.dag_id = 'system_recovery_processing';

-- One row per window that the source no longer keeps, until a person has acknowledged it.
CREATE OR REPLACE VIEW ops.lost_data_troubles AS
SELECT
    'data lost' AS kind,
    s.dataset AS subject,
    s.dataset,
    lower(s.window_range) AS since,
    tstzmultirange(s.window_range) AS window_ranges
FROM ops.skipped_windows AS s
WHERE
    s.rule = 'lost'
    AND NOT EXISTS (
        SELECT FROM ops.incidents AS i
        WHERE i.kind = 'data lost' AND i.subject = s.dataset AND i.acknowledged_at >= s.skipped_at
    );

-- One row per failed integrity check, until a later one of the same windows passes.
CREATE OR REPLACE VIEW ops.integrity_troubles AS
SELECT
    'integrity broken' AS kind,
    c.dataset AS subject,
    c.dataset,
    c.checked_at AS since,
    c.window_ranges
FROM ops.integrity_checks AS c
WHERE
    c.verdict = 'failed'
    AND NOT EXISTS (
        SELECT FROM ops.integrity_checks AS later
        WHERE
            later.dataset = c.dataset AND later.check_name = c.check_name AND later.check_id > c.check_id
            AND later.verdict = 'passed' AND later.window_ranges @> c.window_ranges
    )
    -- Gaps are in the ledger: a run that fills one compares only the windows that it loaded.
    AND (
        c.check_name <> 'windows without gap or overlap'
        OR EXISTS (
            SELECT FROM ops.gaps AS g
            WHERE g.dataset = c.dataset AND g.window_range && range_merge(c.window_ranges)
        )
    );

-- One row per critical dataset and failed health check, until a later check of that name passes.
CREATE OR REPLACE VIEW ops.health_troubles AS
SELECT
    CASE WHEN h.check_name LIKE 'source %' THEN 'source unavailable' ELSE 'platform unhealthy' END AS kind,
    CASE WHEN h.check_name LIKE 'source %' THEN substr(h.check_name, 8) ELSE h.check_name END AS subject,
    d.dataset,
    h.checked_at AS since,
    '{}'::tstzmultirange AS window_ranges
FROM ops.health_checks AS h
CROSS JOIN control.datasets AS d
WHERE
    h.verdict = 'unwell' AND d.critical
    AND NOT EXISTS (
        SELECT FROM ops.health_checks AS later
        WHERE later.check_name = h.check_name AND later.check_id > h.check_id AND later.verdict = 'well'
    );

-- One row per trouble that the record of a recovery shows.
CREATE OR REPLACE VIEW ops.recovery_troubles AS
SELECT
    t.kind,
    t.subject,
    t.dataset,
    t.since,
    t.window_ranges
FROM (
    SELECT * FROM ops.backlog_troubles
    UNION ALL
    SELECT * FROM ops.first_load_troubles
    UNION ALL
    SELECT * FROM ops.lost_data_troubles
    UNION ALL
    SELECT * FROM ops.integrity_troubles
    UNION ALL
    SELECT * FROM ops.health_troubles
) AS t;

GRANT SELECT ON
ops.recovery_backlogs, ops.backlog_troubles, ops.first_load_troubles, ops.lost_data_troubles, ops.integrity_troubles,
ops.health_troubles, ops.recovery_troubles
TO loader, analyst;
