-- The questions people ask of the ledger, as views.

-- One row per expected window of every dataset, up to the one that is under way. Of a dataset that runs by watermark it
-- is a step of its grid: landed once the ledger covers it, with the rows of the windows that begin in it. What the
-- policy does not want is skipped, unless it landed or is in work.
CREATE OR REPLACE VIEW ops.window_status AS
WITH expected AS (
    SELECT
        d.dataset,
        d.dag_id,
        d.grid,
        tstzrange(edge.moment, edge.moment + make_interval(secs => extract(EPOCH FROM d.step)), '[)') AS window_range,
        edge.moment + make_interval(secs => extract(EPOCH FROM d.step)) <= control.due_until(d, ops.clock()) AS is_due
    FROM control.datasets AS d
    CROSS JOIN LATERAL generate_series(
        d.first_window, ops.clock(), make_interval(secs => extract(EPOCH FROM d.step))
    ) AS edge (moment)
),

covered AS (
    SELECT
        l.dataset,
        range_agg(l.window_range) AS window_ranges
    FROM ops.window_ledger AS l
    INNER JOIN control.datasets AS d ON l.dataset = d.dataset AND d.grid = 'watermark'
    GROUP BY l.dataset
),

landed AS (
    SELECT
        l.dataset,
        l.window_range,
        l.version,
        l.run_id,
        l.rows_extracted,
        l.rows_published,
        l.rows_quarantined,
        l.rows_deduplicated,
        l.landed_at
    FROM ops.window_ledger AS l
    INNER JOIN control.datasets AS d ON l.dataset = d.dataset AND d.grid = 'fixed'
    UNION ALL
    SELECT
        e.dataset,
        e.window_range,
        l.version,
        l.run_id,
        begun.rows_extracted,
        begun.rows_published,
        begun.rows_quarantined,
        begun.rows_deduplicated,
        l.landed_at
    FROM expected AS e
    INNER JOIN covered AS c ON e.dataset = c.dataset AND c.window_ranges @> e.window_range
    INNER JOIN ops.window_ledger AS l
        ON e.dataset = l.dataset AND l.window_range @> (upper(e.window_range) - '1 microsecond'::interval)
    CROSS JOIN
        LATERAL (
            SELECT
                coalesce(sum(b.rows_extracted), 0)::bigint AS rows_extracted,
                coalesce(sum(b.rows_published), 0)::bigint AS rows_published,
                coalesce(sum(b.rows_quarantined), 0)::bigint AS rows_quarantined,
                coalesce(sum(b.rows_deduplicated), 0)::bigint AS rows_deduplicated
            FROM ops.window_ledger AS b
            WHERE b.dataset = e.dataset AND lower(b.window_range) <@ e.window_range AND b.window_range && e.window_range
        ) AS begun
    WHERE e.grid = 'watermark'
),

latest AS (
    SELECT DISTINCT ON (a.dataset, a.window_range)
        a.dataset,
        a.window_range,
        a.stage,
        a.error,
        a.started_at,
        CASE WHEN a.state = 'running' AND live.attempt_id IS NULL THEN 'lost' ELSE a.state END AS state
    FROM ops.attempts AS a
    LEFT JOIN ops.live_attempts AS live USING (attempt_id)
    ORDER BY a.dataset ASC, a.window_range ASC, a.attempt_id DESC
),

looked_at AS (
    SELECT DISTINCT ON (s.dataset, c.window_range)
        s.dataset,
        c.window_range,
        c.error
    FROM ops.source_checks AS c
    INNER JOIN control.sources AS s USING (source)
    ORDER BY s.dataset ASC, c.window_range ASC, c.check_id DESC
),

-- Once a dataset, not once a window.
policies AS MATERIALIZED (
    SELECT
        d.dataset,
        control.unwanted(d.dataset, ops.clock()) AS unwanted,
        control.due_until(d, ops.clock()) AS due_until,
        catchup.is_on,
        catchup.reason
    FROM control.datasets AS d
    CROSS JOIN LATERAL control.catchup_is_on(d.dataset) AS catchup
)

SELECT
    e.dataset,
    e.window_range,
    lower(e.window_range) AS window_start,
    upper(e.window_range) AS window_end,
    CASE
        WHEN l.version IS NOT NULL THEN 'landed'
        WHEN a.state IN ('running', 'retrying', 'succeeded') THEN 'running'
        WHEN p.unwanted @> e.window_range THEN 'skipped'
        WHEN a.state IS NOT NULL THEN 'failed'
        WHEN s.rule IS NOT NULL THEN 'skipped'
        WHEN e.is_due THEN 'missing'
        ELSE 'not due'
    END AS state,
    CASE
        WHEN l.version IS NOT NULL AND a.state IN ('failed', 'lost') AND a.started_at >= l.landed_at
            THEN
                'version ' || l.version || ' stands; the latest reload failed in ' || a.stage || ': '
                || coalesce(a.error, 'the process died')
        WHEN l.version IS NOT NULL THEN 'version ' || l.version || ' by ' || l.run_id
        WHEN p.unwanted @> e.window_range AND (a.state IS NULL OR a.state IN ('failed', 'lost'))
            THEN
                (
                    SELECT v.rule || ': ' || v.reason
                    FROM control.policy_verdict(e.dataset, e.window_range, ops.clock()) AS v
                )
        WHEN a.state = 'lost' THEN a.stage || ': the process died; Airflow tries again while it has tries left'
        WHEN a.state = 'failed' THEN a.stage || ': ' || a.error
        WHEN a.state = 'retrying' THEN a.stage || ' is tried again: ' || a.error
        WHEN a.state = 'running' THEN a.stage || ' is running'
        WHEN a.state = 'succeeded' THEN a.stage || ' is done, the next stage follows'
        WHEN s.rule IS NOT NULL THEN s.rule || ': ' || s.reason
        WHEN e.is_due AND NOT p.is_on AND upper(e.window_range) < p.due_until THEN p.reason
        WHEN e.is_due THEN coalesce(k.error, 'no run of ' || e.dag_id || ' has begun it')
        ELSE 'the window has not ended, or its run is not due'
    END AS reason,
    l.version,
    l.rows_extracted,
    l.rows_published,
    l.rows_quarantined,
    l.rows_deduplicated,
    l.landed_at,
    e.is_due
FROM expected AS e
INNER JOIN policies AS p USING (dataset)
LEFT JOIN landed AS l USING (dataset, window_range)
LEFT JOIN ops.skipped_windows AS s USING (dataset, window_range)
LEFT JOIN latest AS a USING (dataset, window_range)
LEFT JOIN looked_at AS k USING (dataset, window_range);

-- One row per stretch of due windows that are wanted and neither landed nor are skipped by a rule.
CREATE OR REPLACE VIEW ops.gaps AS
SELECT
    d.dataset,
    gap.window_range,
    lower(gap.window_range) AS gap_start,
    upper(gap.window_range) AS gap_end,
    ceil(extract(EPOCH FROM upper(gap.window_range) - lower(gap.window_range)) / extract(EPOCH FROM d.step))::bigint
        AS windows
FROM control.datasets AS d
CROSS JOIN
    LATERAL (
        SELECT range_agg(accounted.window_range) AS covered
        FROM (
            SELECT l.window_range FROM ops.window_ledger AS l
            WHERE l.dataset = d.dataset
            UNION ALL
            SELECT s.window_range FROM ops.skipped_windows AS s
            WHERE s.dataset = d.dataset
        ) AS accounted
    ) AS known
CROSS JOIN LATERAL unnest(
    tstzmultirange(tstzrange(d.first_window, control.due_until(d, ops.clock()), '[)'))
    - coalesce(known.covered, '{}'::tstzmultirange) - control.unwanted(d.dataset, ops.clock())
) AS gap (window_range);

-- One row per dataset and day of its windows.
CREATE OR REPLACE VIEW ops.coverage AS
SELECT
    dataset,
    window_start::date AS day,
    count(*) AS windows,
    count(*) FILTER (WHERE state = 'landed') AS landed,
    count(*) FILTER (WHERE state = 'running') AS running,
    count(*) FILTER (WHERE state = 'failed') AS failed,
    count(*) FILTER (WHERE state = 'skipped') AS skipped,
    count(*) FILTER (WHERE state = 'missing') AS missing,
    sum(rows_published) AS rows_published,
    sum(rows_quarantined) AS rows_quarantined
FROM ops.window_status
WHERE is_due OR state <> 'not due'
GROUP BY dataset, window_start::date;

-- One row per dataset: how old the newest landed data is, against its limit. Before anything has landed its age counts
-- from the first window on; what comes behind it and is not wanted makes it no older.
CREATE OR REPLACE VIEW ops.freshness AS
SELECT
    d.dataset,
    newest.landed_until,
    ops.clock() - newest.landed_until AS lag,
    d.max_lag,
    coalesce(
        ops.clock() - coalesce(
            (
                SELECT upper(u.stretch) FROM unnest(control.unwanted(d.dataset, ops.clock())) AS u (stretch)
                WHERE u.stretch @> coalesce(newest.landed_until, d.first_window)
            ),
            newest.landed_until, d.first_window
        ) > d.max_lag, FALSE
    ) AS is_stale
FROM control.datasets AS d
CROSS JOIN LATERAL (
    SELECT max(upper(l.window_range)) AS landed_until FROM ops.window_ledger AS l
    WHERE l.dataset = d.dataset
) AS newest;

-- One row per moment at which the number of windows in work changed. A window is in work from the start of a run's
-- first stage on it to the end of its summary; a run that is cleared and done over counts anew.
CREATE OR REPLACE VIEW ops.concurrency AS
WITH stages AS (
    SELECT
        a.dataset,
        a.dag_id,
        a.run_id,
        a.window_range,
        a.started_at,
        coalesce(a.ended_at, CASE WHEN live.attempt_id IS NOT NULL THEN ops.clock() END, a.started_at) AS ended_at,
        count(*) FILTER (WHERE a.stage = 'summarise' AND a.state = 'succeeded') OVER (
            PARTITION BY a.dataset, a.dag_id, a.run_id, a.window_range ORDER BY a.attempt_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS times_done
    FROM ops.attempts AS a
    LEFT JOIN ops.live_attempts AS live USING (attempt_id)
),

works AS (
    SELECT
        dataset,
        min(started_at) AS started_at,
        max(ended_at) AS ended_at
    FROM stages
    GROUP BY dataset, dag_id, run_id, window_range, times_done
),

changes AS (
    SELECT
        dataset,
        started_at AS moment,
        1 AS change
    FROM works
    UNION ALL
    SELECT
        dataset,
        ended_at AS moment,
        -1 AS change
    FROM works
)

SELECT
    dataset,
    moment,
    sum(change) OVER (PARTITION BY dataset ORDER BY moment, change ROWS UNBOUNDED PRECEDING) AS windows_in_work
FROM changes;

GRANT SELECT ON ops.window_status, ops.gaps, ops.coverage, ops.freshness, ops.concurrency TO loader, analyst;
