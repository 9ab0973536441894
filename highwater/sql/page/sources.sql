-- One row per source: whether the last check reached it, and its reliability where checks are counted.
WITH checks AS (
    SELECT
        source,
        reachable,
        checked_at,
        latency_seconds,
        error
    FROM (
        SELECT DISTINCT ON (source) * FROM ops.source_checks
        ORDER BY source ASC, check_id DESC
    ) AS newest
    UNION ALL
    -- A health check, of any run.
    SELECT
        substr(check_name, 8) AS source,
        verdict = 'well' AS reachable,
        checked_at,
        seconds AS latency_seconds,
        CASE WHEN verdict <> 'well' THEN detail END AS error
    FROM (
        SELECT DISTINCT ON (check_name) * FROM ops.health_checks
        WHERE check_name LIKE 'source %%'
        ORDER BY check_name ASC, check_id DESC
    ) AS newest
    UNION ALL
    -- A stage that read its source has reached it; one that failed with 'source unavailable' has not.
    SELECT
        s.source,
        a.error_kind IS NULL AS reachable,
        a.ended_at AS checked_at,
        NULL AS latency_seconds,
        a.error
    FROM control.sources AS s
    CROSS JOIN
        LATERAL (
            (
                SELECT
                    NULL AS error_kind,
                    k.ended_at,
                    NULL AS error
                FROM ops.attempts AS k
                WHERE k.dataset = s.dataset AND k.state = 'succeeded' AND k.stage = 'identify_changes'
                ORDER BY k.attempt_id DESC
                LIMIT 1
            )
            UNION ALL
            (
                SELECT
                    k.error_kind,
                    k.ended_at,
                    k.error
                FROM ops.attempts AS k
                WHERE k.dataset = s.dataset AND k.state <> 'succeeded' AND k.error_kind = 'source unavailable'
                ORDER BY k.attempt_id DESC
                LIMIT 1
            )
        ) AS a
),

newest AS (
    SELECT DISTINCT ON (source)
        source,
        reachable,
        checked_at,
        latency_seconds,
        error,
        checked_at > ops.clock() - '5 minutes'::interval AS is_of_now
    FROM checks
    ORDER BY source ASC, checked_at DESC NULLS LAST
)

SELECT
    s.source,
    s.dataset,
    l.reachable,
    l.is_of_now,
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
LEFT JOIN newest AS l USING (source)
LEFT JOIN ops.source_reliability AS r USING (source)
WHERE s.dataset = any(%(datasets)s::text[])
UNION ALL
SELECT
    h.source,
    NULL AS dataset,
    h.reachable,
    h.is_of_now,
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
FROM newest AS h
WHERE
    h.source NOT IN (SELECT k.source FROM control.sources AS k)
    AND EXISTS (
        SELECT FROM control.datasets AS d
        WHERE d.dataset = any(%(datasets)s::text[]) AND d.dag_id = 'system_recovery_processing'
    )
ORDER BY source ASC;
