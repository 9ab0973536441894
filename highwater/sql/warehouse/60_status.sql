-- The state of windows and datasets, as views.

-- The functions below without settings of their own are inlined into the query of ops.windows_between.

-- The state of a window, by the windows in each state.
CREATE OR REPLACE FUNCTION ops.state_of(
    p_window tstzrange,
    p_landed tstzmultirange,
    p_held tstzmultirange,
    p_running tstzmultirange,
    p_failed tstzmultirange,
    p_skipped tstzmultirange,
    p_missing tstzmultirange
) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN p_landed @> p_window THEN 'landed'
    WHEN p_held @> p_window THEN 'held'
    WHEN p_running @> p_window THEN 'running'
    WHEN p_failed @> p_window THEN 'failed'
    WHEN p_skipped @> p_window THEN 'skipped'
    WHEN p_missing @> p_window THEN 'missing'
    ELSE 'not due'
END;

-- The ledger of a dataset for the windows that begin from p_first to p_last. Of one that runs by watermark, for each
-- step in p_covered: the row that reaches its end, with the row counts of all that begin in it.
CREATE OR REPLACE FUNCTION ops.landed_rows(
    known control.datasets, p_first timestamptz, p_last timestamptz, p_step interval, p_covered tstzmultirange
)
RETURNS TABLE (
    window_range tstzrange,
    version integer,
    run_id text,
    rows_extracted bigint,
    rows_published bigint,
    rows_quarantined bigint,
    rows_deduplicated bigint,
    landed_at timestamptz
)
LANGUAGE sql STABLE
AS $$
    SELECT
        l.window_range, l.version, l.run_id, l.rows_extracted, l.rows_published, l.rows_quarantined,
        l.rows_deduplicated, l.landed_at
    FROM ops.window_ledger AS l
    WHERE
        known.grid = 'fixed' AND l.dataset = known.dataset
        -- Ranges are ordered by their starts.
        AND l.window_range >= tstzrange(p_first, p_first, '[]') AND l.window_range <= tstzrange(p_last, NULL, '[)')
    UNION ALL
    SELECT
        step.window_range, l.version, l.run_id, begun.rows_extracted, begun.rows_published, begun.rows_quarantined,
        begun.rows_deduplicated, l.landed_at
    FROM (
        SELECT tstzrange(edge, edge + p_step, '[)') AS window_range FROM generate_series(p_first, p_last, p_step) AS edge
    ) AS step
    INNER JOIN ops.window_ledger AS l
        ON l.dataset = known.dataset AND l.window_range @> (upper(step.window_range) - '1 microsecond'::interval)
    CROSS JOIN LATERAL (
        SELECT
            coalesce(sum(b.rows_extracted), 0)::bigint AS rows_extracted,
            coalesce(sum(b.rows_published), 0)::bigint AS rows_published,
            coalesce(sum(b.rows_quarantined), 0)::bigint AS rows_quarantined,
            coalesce(sum(b.rows_deduplicated), 0)::bigint AS rows_deduplicated
        FROM ops.window_ledger AS b
        WHERE
            b.dataset = known.dataset AND lower(b.window_range) <@ step.window_range
            AND b.window_range && step.window_range
    ) AS begun
    WHERE known.grid = 'watermark' AND p_covered @> step.window_range
$$;

-- The latest attempt at each window that begins from p_first to p_last, and the reason that it gives for each state.
CREATE OR REPLACE FUNCTION ops.latest_attempts(known control.datasets, p_first timestamptz, p_last timestamptz)
RETURNS TABLE (
    window_range tstzrange,
    started_at timestamptz,
    why_running text,
    why_failed text,
    why_missing text,
    why_not_reloaded text
)
LANGUAGE sql STABLE
AS $$
    SELECT
        a.window_range,
        a.started_at,
        a.stage || CASE a.state
            WHEN 'retrying' THEN ' is retried: ' || coalesce(a.error, 'no error was recorded')
            ELSE ' is done, the next stage follows'
        END,
        a.stage || CASE a.state
            WHEN 'lost' THEN ': the process died; Airflow retries it while it has retries left'
            WHEN 'retrying' THEN ', to be retried while its run exists: ' || coalesce(a.error, 'no error was recorded')
            ELSE ': ' || coalesce(a.error, 'no error was recorded')
        END,
        CASE WHEN a.state = 'succeeded' THEN CASE
            WHEN a.stage IN ('load', 'summarise') AND known.grid = 'fixed'
                THEN 'it had landed, and is no longer in the ledger: it is loaded again'
            ELSE a.stage || ' is done, and nothing has followed: its run no longer exists, or waits'
        END END,
        CASE WHEN a.state IN ('failed', 'lost') THEN
            'the latest reload failed in ' || a.stage || ': ' || coalesce(a.error, 'the process died') END
    FROM (
        SELECT DISTINCT ON (k.window_range)
            k.window_range,
            k.stage,
            k.error,
            k.started_at,
            CASE WHEN k.state = 'running' AND live.attempt_id IS NULL THEN 'lost' ELSE k.state END AS state
        FROM ops.attempts AS k
        LEFT JOIN ops.live_attempts AS live USING (attempt_id)
        WHERE k.dataset = known.dataset AND lower(k.window_range) >= p_first AND lower(k.window_range) <= p_last
        ORDER BY k.window_range ASC, k.attempt_id DESC
    ) AS a
$$;

-- The error of the latest check of the source for each window that begins from p_first to p_last; null if it passed.
CREATE OR REPLACE FUNCTION ops.latest_source_checks(p_dataset text, p_first timestamptz, p_last timestamptz)
RETURNS TABLE (window_range tstzrange, error text)
LANGUAGE sql STABLE
AS $$
    SELECT DISTINCT ON (c.window_range) c.window_range, c.error
    FROM ops.source_checks AS c
    INNER JOIN control.sources AS s USING (source)
    WHERE s.dataset = p_dataset AND lower(c.window_range) >= p_first AND lower(c.window_range) <= p_last
    ORDER BY c.window_range ASC, c.check_id DESC
$$;

-- One row per window of a dataset that begins in [p_from, p_to) and has begun by now, with its state and the reason;
-- the cost depends on these windows alone, not on the size of the ledger. Of a dataset that runs by watermark a window
-- is a step of its grid: landed once the ledger covers it, with the rows of the ledger windows that begin in it.
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
-- The planner cannot know the length of the series; a nested loop over it would take minutes. One plan for all bounds,
-- made once per session, must not scan a long ledger.
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
    states record;
    catchup record;
    stopped CONSTANT text := ops.stopped_because(p_dataset);
BEGIN
    SELECT * INTO known FROM control.datasets AS d WHERE d.dataset = p_dataset;
    IF NOT found OR greatest(p_from, known.first_window) > moment THEN
        RETURN;
    END IF;
    step := make_interval(secs => extract(EPOCH FROM known.step));
    first_start := control.window_at_or_after(known, greatest(p_from, known.first_window));
    last_start := least(moment, p_to - '1 microsecond'::interval);
    IF first_start > last_start THEN
        RETURN;
    END IF;
    due := control.due_until(known, moment);
    SELECT * INTO states FROM ops.window_states(p_dataset, tstzrange(first_start, last_start, '[]'));
    SELECT c.is_on, c.reason INTO catchup FROM control.catchup_is_on(p_dataset) AS c;
    RETURN QUERY
    WITH expected AS MATERIALIZED (
        SELECT
            each.window_range,
            ops.state_of(
                each.window_range, states.landed, states.held, states.running, states.failed, states.skipped,
                states.missing
            ) AS state
        FROM (
            SELECT tstzrange(edge, edge + step, '[)') AS window_range
            FROM generate_series(first_start, last_start, step) AS edge
        ) AS each
    )

    SELECT
        e.window_range,
        e.state,
        CASE e.state
            WHEN 'landed' THEN coalesce(failed.reload, 'version ' || l.version || ' by ' || l.run_id)
            WHEN 'held' THEN concat_ws('; ', h.sentence, failed.reload)
            WHEN 'running' THEN coalesce(w.what, a.why_running)
            WHEN 'failed' THEN a.why_failed
            WHEN 'skipped'
                THEN coalesce(
                    (
                        SELECT v.rule || ': ' || v.reason
                        FROM control.policy_verdict(p_dataset, e.window_range, moment) AS v
                    ),
                    s.rule || ': ' || s.reason
                )
            WHEN 'missing'
                THEN CASE
                    WHEN NOT catchup.is_on AND upper(e.window_range) < due THEN catchup.reason
                    ELSE coalesce(a.why_missing, stopped, k.error, 'no run of ' || known.dag_id || ' has begun it')
                END
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
    LEFT JOIN ops.landed_rows(known, first_start, last_start, step, states.landed + states.held) AS l USING (window_range)
    LEFT JOIN ops.latest_attempts(known, first_start, last_start) AS a USING (window_range)
    LEFT JOIN ops.latest_source_checks(p_dataset, first_start, last_start) AS k USING (window_range)
    LEFT JOIN ops.windows_in_work(p_dataset) AS w USING (window_range)
    LEFT JOIN ops.skipped_windows AS s
        ON s.dataset = p_dataset AND s.window_range = e.window_range
        -- Ranges are ordered by their starts.
        AND s.window_range >= tstzrange(first_start, first_start, '[]') AND s.window_range <= tstzrange(last_start, NULL, '[)')
    LEFT JOIN ops.held_windows AS h ON h.dataset = p_dataset AND e.window_range = h.window_range
    CROSS JOIN LATERAL (
        SELECT CASE WHEN a.started_at >= l.landed_at THEN 'version ' || l.version || ' is kept; ' || a.why_not_reloaded END
            AS reload
    ) AS failed;
END;
$$;

-- One row per window of every dataset that has begun. For some of them use ops.windows_between, for their number
-- ops.window_totals.
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

REVOKE EXECUTE ON FUNCTION
ops.state_of, ops.landed_rows, ops.latest_attempts, ops.latest_source_checks,
ops.windows_between
FROM public;
GRANT EXECUTE ON FUNCTION ops.windows_between TO loader, analyst;

-- One row per dataset: the number of due windows by state, the rows that are published, and the ranges that failed or
-- are missing.
CREATE OR REPLACE VIEW ops.window_totals AS
SELECT
    d.dataset,
    control.windows_in(d, s.due) AS windows_due,
    control.windows_in(d, s.landed * s.due) AS windows_landed,
    control.windows_in(d, s.running * s.due) AS windows_running,
    control.windows_in(d, s.failed * s.due) AS windows_failed,
    control.windows_in(d, s.skipped * s.due) AS windows_skipped,
    control.windows_in(d, s.missing) AS windows_missing,
    m.rows_extracted,
    coalesce(merged.published_rows, m.rows_published) AS rows_published,
    CASE WHEN d.grid = 'watermark' THEN refused.keys ELSE m.rows_quarantined END AS rows_quarantined,
    m.rows_deduplicated,
    newest.landed_at AS last_landed_at,
    s.failed * s.due + s.missing AS not_landed,
    control.windows_in(d, s.held * s.due) AS windows_held
FROM control.datasets AS d
CROSS JOIN LATERAL ops.window_states(d.dataset) AS s
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
-- Change sets bring the same rows again: what counts is the table after the last one, and the keys still refused.
LEFT JOIN ops.checkpoints AS merged ON d.dataset = merged.dataset AND d.grid = 'watermark'
CROSS JOIN
    LATERAL (
        SELECT count(*) AS keys FROM quarantine.refused_keys AS q
        WHERE q.dataset = d.dataset AND d.grid = 'watermark'
    ) AS refused
LEFT JOIN LATERAL (
    SELECT l.landed_at FROM ops.window_ledger AS l
    WHERE l.dataset = d.dataset
    ORDER BY l.landed_at DESC
    LIMIT 1
) AS newest ON TRUE;

-- One row per range of due windows that are in work, failed or missing, without what windows of a former grid cover.
CREATE OR REPLACE VIEW ops.gaps AS
SELECT
    d.dataset,
    gap.window_range,
    lower(gap.window_range) AS gap_start,
    upper(gap.window_range) AS gap_end,
    ceil(extract(EPOCH FROM upper(gap.window_range) - lower(gap.window_range)) / extract(EPOCH FROM d.step))::bigint
        AS windows
FROM control.datasets AS d
CROSS JOIN LATERAL ops.window_states(d.dataset) AS s
CROSS JOIN LATERAL ops.accounted_for(d) AS known
CROSS JOIN LATERAL unnest(
    (s.running + s.failed) * s.due + s.missing - (known.anyhow - known.skipped)
) AS gap (window_range);

-- One row per dataset and day of its due windows.
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
    sum(rows_quarantined) AS rows_quarantined,
    count(*) FILTER (WHERE state = 'held') AS held
FROM ops.window_status
WHERE is_due
GROUP BY dataset, window_start::date;

-- One row per dataset: the age of the newest landed data, and whether it is above its limit. Before anything has landed
-- the age counts from the first window. Unwanted windows after the newest data do not age it.
CREATE OR REPLACE VIEW ops.freshness AS
SELECT
    d.dataset,
    newest.landed_until,
    ops.clock() - newest.landed_until AS lag,
    d.max_lag,
    coalesce(
        ops.clock() - coalesce(
            (
                SELECT upper(u.windows) FROM unnest(control.unwanted(d.dataset, ops.clock())) AS u (windows)
                WHERE u.windows @> coalesce(newest.landed_until, d.first_window)
            ),
            newest.landed_until, d.first_window
        ) > d.max_lag, FALSE
    ) AS is_stale
FROM control.datasets AS d
LEFT JOIN LATERAL (
    -- Windows do not overlap: the one that begins last ends last. One that ends in the future, because a clock was
    -- ahead, does not count.
    SELECT upper(l.window_range) AS landed_until FROM ops.window_ledger AS l
    WHERE l.dataset = d.dataset AND upper(l.window_range) <= ops.clock()
    ORDER BY l.window_range DESC
    LIMIT 1
) AS newest ON TRUE;

-- One row per landed window, and when it landed for the first time, as far back as versions are kept: a reload or a
-- rollback brings no new data.
CREATE OR REPLACE VIEW ops.first_landings AS
SELECT
    l.dataset,
    l.window_range,
    coalesce(f.landed_at, l.landed_at) AS landed_at,
    -- Not before landed_at, and indexed.
    l.landed_at AS latest_landed_at
FROM ops.window_ledger AS l
LEFT JOIN LATERAL (
    SELECT v.landed_at FROM ops.former_versions AS v
    WHERE v.dataset = l.dataset AND v.window_range = l.window_range AND v.version = 1 AND v.state <> 'forgotten'
    ORDER BY v.landed_at DESC
    LIMIT 1
) AS f ON l.version > 1
WHERE l.version = 1 OR f.landed_at IS NOT NULL;

GRANT SELECT ON ops.first_landings TO loader, analyst;

-- One row per moment at which the number of windows in work changed. A window is in work from the start of a run's
-- first stage to the end of its summary; a run that is cleared and repeated counts again.
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
