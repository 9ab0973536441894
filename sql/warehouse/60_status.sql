-- The questions people ask of the ledger, as views.

-- One row per window of a dataset that begins in [p_from, p_to) and has begun by now; it costs as much as these
-- windows, however many there are. Of a dataset that runs by watermark a window is a step of its grid: landed once the
-- ledger covers it, with the rows of the windows that begin in it. What the policy does not want is skipped, unless it
-- landed or is in work.
CREATE OR REPLACE FUNCTION ops.windows_between(p_dataset text, p_from timestamptz, p_to timestamptz)
RETURNS TABLE (
    window_range tstzrange,
    state text,
    reason text,
    version integer,
    rows_extracted bigint,
    rows_published bigint,
    rows_quarantined bigint,
    rows_deduplicated bigint,
    landed_at timestamptz,
    is_due boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = OFF
-- How many windows a series gives is a guess to the planner; looking each up in a table of them would take minutes.
-- One plan for all bounds, made once a session; it must not read all of a long ledger.
SET enable_nestloop = OFF SET enable_seqscan = OFF SET plan_cache_mode = FORCE_GENERIC_PLAN
AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := ops.clock();
    known control.datasets;
    step interval;
    due timestamptz;
    first_start timestamptz;
    last_start timestamptz;
    -- Ranges are in order of their starts: from the first that may begin the stretch to the last.
    first_range tstzrange;
    last_range tstzrange;
    unwanted tstzmultirange;
    catchup record;
BEGIN
    SELECT * INTO known FROM control.datasets AS d WHERE d.dataset = p_dataset;
    IF NOT found OR greatest(p_from, known.first_window) > moment THEN
        RETURN;
    END IF;
    step := make_interval(secs => extract(EPOCH FROM known.step));
    first_start := control.window_at_or_after(known, greatest(p_from, known.first_window));
    last_start := least(moment, p_to - '1 microsecond'::interval);
    first_range := tstzrange(first_start, first_start, '[]');
    last_range := tstzrange(last_start, NULL, '[)');
    due := control.due_until(known, moment);
    SELECT c.is_on, c.reason INTO catchup FROM control.catchup_is_on(p_dataset) AS c;
    IF first_start <= last_start THEN
        SELECT coalesce(range_agg(u.window_ranges), '{}') INTO unwanted
        FROM control.unwanted_by_rule(p_dataset, moment, tstzrange(first_start, last_start + step)) AS u;
    END IF;
    RETURN QUERY
    WITH expected AS MATERIALIZED (
        SELECT tstzrange(edge, edge + step, '[)') AS window_range
        FROM generate_series(first_start, last_start, step) AS edge
    ),

    landed AS (
        SELECT
            l.window_range, l.version, l.run_id, l.rows_extracted, l.rows_published, l.rows_quarantined,
            l.rows_deduplicated, l.landed_at
        FROM ops.window_ledger AS l
        WHERE
            known.grid = 'fixed' AND l.dataset = p_dataset AND l.window_range >= first_range AND l.window_range <= last_range
        UNION ALL
        SELECT
            e.window_range, l.version, l.run_id, begun.rows_extracted, begun.rows_published, begun.rows_quarantined,
            begun.rows_deduplicated, l.landed_at
        FROM expected AS e
        INNER JOIN ops.window_ledger AS l
            ON l.dataset = p_dataset AND l.window_range @> (upper(e.window_range) - '1 microsecond'::interval)
        CROSS JOIN LATERAL (
            SELECT
                coalesce(sum(b.rows_extracted), 0)::bigint AS rows_extracted,
                coalesce(sum(b.rows_published), 0)::bigint AS rows_published,
                coalesce(sum(b.rows_quarantined), 0)::bigint AS rows_quarantined,
                coalesce(sum(b.rows_deduplicated), 0)::bigint AS rows_deduplicated
            FROM ops.window_ledger AS b
            WHERE
                b.dataset = p_dataset AND lower(b.window_range) <@ e.window_range AND b.window_range && e.window_range
        ) AS begun
        WHERE
            known.grid = 'watermark'
            AND (SELECT range_agg(m.landed) FROM ops.ledger_months AS m WHERE m.dataset = p_dataset) @> e.window_range
    ),

    latest AS (
        SELECT DISTINCT ON (a.window_range)
            a.window_range,
            a.stage,
            a.error,
            a.started_at,
            CASE WHEN a.state = 'running' AND live.attempt_id IS NULL THEN 'lost' ELSE a.state END AS state
        FROM ops.attempts AS a
        LEFT JOIN ops.live_attempts AS live USING (attempt_id)
        WHERE
            a.dataset = p_dataset AND lower(a.window_range) >= first_start AND lower(a.window_range) <= last_start
        ORDER BY a.window_range ASC, a.attempt_id DESC
    ),

    looked_at AS (
        SELECT DISTINCT ON (c.window_range) c.window_range, c.error
        FROM ops.source_checks AS c
        INNER JOIN control.sources AS s USING (source)
        WHERE
            s.dataset = p_dataset AND lower(c.window_range) >= first_start AND lower(c.window_range) <= last_start
        ORDER BY c.window_range ASC, c.check_id DESC
    ),

    skipped AS (
        SELECT s.window_range, s.rule, s.reason
        FROM ops.skipped_windows AS s
        WHERE s.dataset = p_dataset AND s.window_range >= first_range AND s.window_range <= last_range
    )

    SELECT
        e.window_range,
        CASE
            WHEN l.version IS NOT NULL THEN 'landed'
            WHEN a.state IN ('running', 'retrying', 'succeeded') THEN 'running'
            WHEN unwanted @> e.window_range THEN 'skipped'
            WHEN a.state IS NOT NULL THEN 'failed'
            WHEN s.rule IS NOT NULL THEN 'skipped'
            WHEN upper(e.window_range) <= due THEN 'missing'
            ELSE 'not due'
        END,
        CASE
            WHEN l.version IS NOT NULL AND a.state IN ('failed', 'lost') AND a.started_at >= l.landed_at
                THEN
                    'version ' || l.version || ' stands; the latest reload failed in ' || a.stage || ': '
                    || coalesce(a.error, 'the process died')
            WHEN l.version IS NOT NULL THEN 'version ' || l.version || ' by ' || l.run_id
            WHEN unwanted @> e.window_range AND (a.state IS NULL OR a.state IN ('failed', 'lost'))
                THEN
                    (
                        SELECT v.rule || ': ' || v.reason
                        FROM control.policy_verdict(p_dataset, e.window_range, moment) AS v
                    )
            WHEN a.state = 'lost' THEN a.stage || ': the process died; Airflow tries again while it has tries left'
            WHEN a.state = 'failed' THEN a.stage || ': ' || a.error
            WHEN a.state = 'retrying' THEN a.stage || ' is tried again: ' || a.error
            WHEN a.state = 'running' THEN a.stage || ' is running'
            WHEN a.state = 'succeeded' THEN a.stage || ' is done, the next stage follows'
            WHEN s.rule IS NOT NULL THEN s.rule || ': ' || s.reason
            WHEN upper(e.window_range) <= due AND NOT catchup.is_on AND upper(e.window_range) < due THEN catchup.reason
            WHEN upper(e.window_range) <= due THEN coalesce(k.error, 'no run of ' || known.dag_id || ' has begun it')
            ELSE 'the window has not ended, or its run is not due'
        END,
        l.version,
        l.rows_extracted,
        l.rows_published,
        l.rows_quarantined,
        l.rows_deduplicated,
        l.landed_at,
        upper(e.window_range) <= due
    FROM expected AS e
    LEFT JOIN landed AS l USING (window_range)
    LEFT JOIN skipped AS s USING (window_range)
    LEFT JOIN latest AS a USING (window_range)
    LEFT JOIN looked_at AS k USING (window_range);
END;
$$;

-- One row per expected window of every dataset, up to the one that is under way. All of them: who wants some asks
-- ops.windows_between, who wants their number ops.window_totals.
CREATE OR REPLACE VIEW ops.window_status AS
SELECT
    d.dataset,
    w.window_range,
    lower(w.window_range) AS window_start,
    upper(w.window_range) AS window_end,
    w.state,
    w.reason,
    w.version,
    w.rows_extracted,
    w.rows_published,
    w.rows_quarantined,
    w.rows_deduplicated,
    w.landed_at,
    w.is_due
FROM control.datasets AS d
CROSS JOIN LATERAL ops.windows_between(d.dataset, '-infinity', 'infinity') AS w;

-- The due windows of a dataset by their states, as stretches of time: what ops.windows_between says of each, without
-- looking at those that landed.
CREATE OR REPLACE FUNCTION ops.due_windows(
    p_dataset text,
    OUT due tstzmultirange,
    OUT landed tstzmultirange,
    OUT running tstzmultirange,
    OUT failed tstzmultirange,
    OUT skipped tstzmultirange,
    OUT missing tstzmultirange
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = OFF
SET plan_cache_mode = FORCE_GENERIC_PLAN
AS $$
DECLARE
    known control.datasets;
    kept record;
    open_windows tstzmultirange;
    unwanted tstzmultirange;
BEGIN
    SELECT * INTO known FROM control.datasets AS d WHERE d.dataset = p_dataset;
    IF NOT found THEN
        RETURN;
    END IF;
    SELECT k.landed, k.skipped INTO kept FROM ops.accounted_for(known) AS k;
    unwanted := control.unwanted(p_dataset, ops.clock());
    due := tstzmultirange(tstzrange(known.first_window, control.due_until(known, ops.clock())));
    landed := due * kept.landed;
    open_windows := due - landed;
    SELECT
        coalesce(range_agg(latest.window_range) FILTER (WHERE latest.is_at_work), '{}'),
        coalesce(range_agg(latest.window_range) FILTER (WHERE NOT latest.is_at_work), '{}')
    INTO running, failed
    FROM (
        SELECT DISTINCT ON (a.window_range)
            a.window_range,
            a.state IN ('retrying', 'succeeded') OR (a.state = 'running' AND live.attempt_id IS NOT NULL) AS is_at_work
        FROM unnest(open_windows) AS o
        CROSS JOIN LATERAL (
            SELECT k.attempt_id, k.window_range, k.state
            FROM ops.attempts AS k
            WHERE k.dataset = p_dataset AND lower(k.window_range) >= lower(o) AND lower(k.window_range) < upper(o)
            -- A fence: what a stretch has is looked up, never the stretches for each attempt there is.
            OFFSET 0
        ) AS a
        LEFT JOIN ops.live_attempts AS live USING (attempt_id)
        WHERE
            upper(a.window_range) - lower(a.window_range) = known.step
            AND date_bin(known.step, lower(a.window_range), known.first_window) = lower(a.window_range)
        ORDER BY a.window_range ASC, a.attempt_id DESC
    ) AS latest;
    skipped := open_windows * unwanted - running + (open_windows * kept.skipped - running - failed);
    failed := failed - unwanted;
    missing := open_windows - running - failed - skipped;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.windows_between, ops.due_windows FROM public;
GRANT EXECUTE ON FUNCTION ops.windows_between, ops.due_windows TO loader, analyst;

-- One row per dataset: its due windows by their states, the rows of all that landed, and the stretches of what
-- failed or is missing.
CREATE OR REPLACE VIEW ops.window_totals AS
SELECT
    d.dataset,
    control.windows_in(d, w.due) AS windows_due,
    control.windows_in(d, w.landed) AS windows_landed,
    control.windows_in(d, w.running) AS windows_running,
    control.windows_in(d, w.failed) AS windows_failed,
    control.windows_in(d, w.skipped) AS windows_skipped,
    control.windows_in(d, w.missing) AS windows_missing,
    m.rows_extracted,
    m.rows_published,
    m.rows_quarantined,
    m.rows_deduplicated,
    newest.landed_at AS last_landed_at,
    w.failed + w.missing AS not_landed
FROM control.datasets AS d
CROSS JOIN LATERAL ops.due_windows(d.dataset) AS w
CROSS JOIN
    LATERAL (
        SELECT
            coalesce(sum(k.rows_extracted), 0)::bigint AS rows_extracted,
            coalesce(sum(k.rows_published), 0)::bigint AS rows_published,
            coalesce(sum(k.rows_quarantined), 0)::bigint AS rows_quarantined,
            coalesce(sum(k.rows_deduplicated), 0)::bigint AS rows_deduplicated
        FROM ops.ledger_months AS k
        WHERE k.dataset = d.dataset
    ) AS m
LEFT JOIN LATERAL (
    SELECT l.landed_at FROM ops.window_ledger AS l
    WHERE l.dataset = d.dataset
    ORDER BY l.landed_at DESC
    LIMIT 1
) AS newest ON TRUE;

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
CROSS JOIN LATERAL ops.accounted_for(d) AS known
CROSS JOIN LATERAL unnest(
    tstzmultirange(tstzrange(d.first_window, control.due_until(d, ops.clock()), '[)'))
    - known.anyhow - control.unwanted(d.dataset, ops.clock())
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
LEFT JOIN LATERAL (
    -- No two overlap: the one that begins last ends last. One that ends in the future, as a clock that was ahead has
    -- left it, makes nothing fresh.
    SELECT upper(l.window_range) AS landed_until FROM ops.window_ledger AS l
    WHERE l.dataset = d.dataset AND upper(l.window_range) <= ops.clock()
    ORDER BY l.window_range DESC
    LIMIT 1
) AS newest ON TRUE;

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

GRANT SELECT ON
ops.window_status, ops.window_totals, ops.gaps, ops.coverage, ops.freshness, ops.concurrency
TO loader, analyst;
