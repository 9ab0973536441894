-- One row per source: whether the last look reached it, and how reliable it is where looks are counted.
WITH looked_at AS (
    SELECT DISTINCT ON (source)
        source,
        reachable,
        checked_at,
        latency_seconds,
        error
    FROM ops.source_checks
    ORDER BY source ASC, check_id DESC
),

health AS (
    SELECT DISTINCT ON (check_name)
        substr(check_name, 8) AS source,
        verdict = 'well' AS reachable,
        checked_at,
        seconds AS latency_seconds,
        CASE WHEN verdict <> 'well' THEN detail END AS error
    FROM ops.health_checks
    WHERE check_name LIKE 'source %%'
    ORDER BY check_name ASC, check_id DESC
)

SELECT
    s.source,
    s.dataset,
    l.reachable,
    l.checked_at,
    l.latency_seconds,
    l.error,
    r.checks,
    r.good_checks,
    r.reliability,
    r.reliability_threshold,
    r.last_failure_at,
    r.catches_up,
    r.reason
FROM control.sources AS s
LEFT JOIN looked_at AS l USING (source)
LEFT JOIN ops.source_reliability AS r USING (source)
WHERE s.dataset = any(%(datasets)s::text[])
UNION ALL
SELECT
    h.source,
    NULL AS dataset,
    h.reachable,
    h.checked_at,
    h.latency_seconds,
    h.error,
    NULL AS checks,
    NULL AS good_checks,
    NULL AS reliability,
    NULL AS reliability_threshold,
    NULL AS last_failure_at,
    NULL AS catches_up,
    NULL AS reason
FROM health AS h
WHERE
    h.source NOT IN (SELECT k.source FROM control.sources AS k)
    AND EXISTS (
        SELECT FROM control.datasets AS d
        WHERE d.dataset = any(%(datasets)s::text[]) AND d.dag_id = 'system_recovery_processing'
    )
ORDER BY source ASC;
