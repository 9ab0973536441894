-- When the remaining windows may be done: one model for backfills, recoveries and catch-up. Run as publisher; again is
-- harmless.

-- The times at work, from those of each piece of work. Pieces with at most the usual pause of a lane or the scheduler
-- between them are joined; longer pauses do not count.
CREATE OR REPLACE FUNCTION ops.time_at_work(p_work tstzmultirange) RETURNS tstzmultirange
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(range_agg(tstzrange(lower(joined), upper(joined) - '20 seconds'::interval)), '{}')
    FROM unnest((
        SELECT range_agg(tstzrange(lower(piece), upper(piece) + '20 seconds'::interval)) FROM unnest(p_work) AS piece
    )) AS joined
$$;

-- The number of seconds at work before a moment.
CREATE OR REPLACE FUNCTION ops.seconds_at_work(p_active tstzmultirange, p_moment timestamptz) RETURNS double precision
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(sum(extract(EPOCH FROM least(upper(piece), p_moment) - lower(piece))), 0)::double precision
    FROM unnest(p_active) AS piece WHERE lower(piece) < p_moment
$$;

-- The rate, and the least and most time that the rest takes: from the ends of the latest windows and the times at work
-- up to now. All is measured in time at work, so that a pause changes nothing. The rate is that of the latest 32
-- windows. Concurrent windows end together, so each end of the measured time may be off by the longest time between two
-- ends: that is the width of the estimate. A window that takes longer than any before widens it gradually. Null before
-- three windows have ended.
CREATE OR REPLACE FUNCTION ops.estimate_rest(
    p_left bigint,
    p_ends timestamptz[],
    p_active tstzmultirange,
    p_now timestamptz,
    OUT windows_per_minute numeric,
    OUT at_least interval,
    OUT at_most interval
)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    smoothed CONSTANT integer := 32;
    marks double precision[] := (
        SELECT array_agg(m.mark ORDER BY m.mark)
        FROM (
            SELECT ops.seconds_at_work(p_active, e.moment) AS mark FROM unnest(p_ends) AS e (moment)
            ORDER BY e.moment DESC LIMIT smoothed + 1
        ) AS m
    );
    between_two double precision;
    longest double precision;
    waited double precision;
    mean double precision;
    middle double precision;
    slack double precision;
BEGIN
    IF coalesce(cardinality(marks), 0) < 3 THEN
        RETURN;
    END IF;
    IF cardinality(marks) <= smoothed THEN
        -- The work began at zero.
        marks := 0::double precision || marks;
    END IF;
    between_two := cardinality(marks) - 1;
    longest := (SELECT max(marks[n + 1] - marks[n]) FROM generate_series(1, cardinality(marks) - 1) AS n);
    waited := ops.seconds_at_work(p_active, p_now) - marks[cardinality(marks)];
    mean := (marks[cardinality(marks)] - marks[1] + greatest(0, waited - longest)) / between_two;
    IF mean <= 0 THEN
        RETURN;
    END IF;
    middle := p_left * mean - least(waited, longest);
    slack := greatest(longest, waited) * (1 + p_left / between_two);
    windows_per_minute := round((60 / mean)::numeric, 2);
    at_least := make_interval(secs => CASE p_left WHEN 0 THEN 0 ELSE greatest(0, middle - slack) END);
    at_most := make_interval(secs => CASE p_left WHEN 0 THEN 0 ELSE greatest(0, middle + slack) END);
END;
$$;

-- The same for windows of datasets, however they are loaded: the ledger has when they landed since a moment, the
-- attempts have the times at work.
CREATE OR REPLACE FUNCTION ops.estimate_load(
    p_datasets text[],
    p_windows tstzmultirange,
    p_since timestamptz,
    p_left bigint,
    OUT windows_per_minute numeric,
    OUT at_least interval,
    OUT at_most interval
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH latest AS (
        SELECT l.landed_at
        FROM ops.window_ledger AS l
        WHERE
            l.dataset = ANY(p_datasets) AND p_windows @> l.window_range
            AND l.landed_at >= p_since AND l.landed_at <= ops.clock()
        ORDER BY l.landed_at DESC
        LIMIT 33
    ),

    known AS (
        SELECT
            array_agg(landed_at) AS ends,
            CASE count(*) WHEN 33 THEN min(landed_at) ELSE p_since END AS since
        FROM latest
    ),

    work AS (
        SELECT range_agg(tstzrange(greatest(a.started_at, p_since), coalesce(a.ended_at, ops.clock()))) AS pieces
        FROM ops.attempts AS a
        CROSS JOIN known AS k
        WHERE
            a.dataset = ANY(p_datasets) AND p_windows @> a.window_range
            AND greatest(a.started_at, p_since) < coalesce(a.ended_at, ops.clock())
            AND (
                a.ended_at >= k.since
                OR (a.state = 'running' AND a.attempt_id IN (SELECT live.attempt_id FROM ops.live_attempts AS live))
            )
    )

    SELECT e.*
    FROM known AS k
    CROSS JOIN work AS w
    CROSS JOIN LATERAL ops.estimate_rest(p_left, k.ends, ops.time_at_work(w.pieces), ops.clock()) AS e
$$;
