-- The sources that datasets are loaded from: what each is trusted with, how it was found, and what follows from that.
-- Run as publisher; again is harmless. The table of the rules itself is made by 35_checkpoints.sql.

-- One row a source that there is; a rule is of one of them.
CREATE TABLE IF NOT EXISTS control.known_sources (
    source text PRIMARY KEY,
    holds text NOT NULL,
    CONSTRAINT source_is_the_id_of_a_connection CHECK (source ~ '^[A-Za-z0-9_.-]{1,200}$'),
    CONSTRAINT source_says_what_it_holds CHECK (holds <> '')
);

COMMENT ON TABLE control.known_sources IS 'The sources that a rule can be of; yours is a row more';
COMMENT ON COLUMN control.known_sources.source IS 'The name of its Airflow connection';

INSERT INTO control.known_sources (source, holds)
VALUES
('shop', 'orders as they change'),
('store', 'the sales of the stores, a day at a time'),
('partner', 'the orders of the partner, a day at a time'),
('supplier', 'the settlements of the supplier, a week at a time')
ON CONFLICT (source) DO NOTHING;

ALTER TABLE control.sources
ADD COLUMN IF NOT EXISTS source text
CONSTRAINT each_source_feeds_one_dataset UNIQUE,
ADD COLUMN IF NOT EXISTS catch_up text NOT NULL DEFAULT 'all'
CONSTRAINT catch_up_is_all_reliable_or_none CHECK (catch_up IN ('all', 'reliable', 'none')),
ADD COLUMN IF NOT EXISTS reliability_threshold numeric NOT NULL DEFAULT 0.8
CONSTRAINT reliability_threshold_is_between_0_and_1 CHECK (reliability_threshold BETWEEN 0 AND 1),
ADD COLUMN IF NOT EXISTS reliability_checks integer NOT NULL DEFAULT 10
CONSTRAINT reliability_checks_is_between_1_and_1000 CHECK (reliability_checks BETWEEN 1 AND 1000),
ADD COLUMN IF NOT EXISTS catch_up_limit interval NOT NULL DEFAULT '30 days'
CONSTRAINT catch_up_limit_is_not_negative CHECK (extract(EPOCH FROM catch_up_limit) >= 0),
ADD COLUMN IF NOT EXISTS statement_timeout interval NOT NULL DEFAULT '2 minutes'
CONSTRAINT statement_timeout_is_a_second_to_a_day CHECK (extract(EPOCH FROM statement_timeout) BETWEEN 1 AND 86400);

UPDATE control.sources SET source = 'shop'
WHERE dataset = 'orders' AND source IS NULL;

-- Names were once a list in a constraint; somebody may have added theirs to it.
INSERT INTO control.known_sources (source, holds)
SELECT
    source,
    'the dataset ' || dataset AS holds
FROM control.sources
ON CONFLICT (source) DO NOTHING;

ALTER TABLE control.sources
ALTER COLUMN source SET NOT NULL,
DROP CONSTRAINT IF EXISTS source_is_one_of_shop_store_partner_supplier,
DROP CONSTRAINT IF EXISTS source_is_known,
ADD CONSTRAINT source_is_known FOREIGN KEY (source) REFERENCES control.known_sources,
DROP CONSTRAINT IF EXISTS strategy_is_xid_or_updated_at,
DROP CONSTRAINT IF EXISTS strategy_is_xid_updated_at_or_windows,
ADD CONSTRAINT strategy_is_xid_updated_at_or_windows CHECK (strategy IN ('xid', 'updated_at', 'windows'));

DO $$
BEGIN
    PERFORM control.add_rule(
        'control.sources', 'catch_up_limit_is_at_most_36600_days', 'control.is_usual_span(catch_up_limit)'
    );
    PERFORM control.add_rule(
        'control.sources', 'overlap_is_at_most_36600_days', 'control.is_usual_span(overlap)'
    );
    PERFORM control.add_rule(
        'control.sources', 'reconcile_every_is_at_most_36600_days', 'control.is_usual_span(reconcile_every)'
    );
END;
$$;

COMMENT ON TABLE control.sources IS 'One row a source: which dataset it feeds, how it is read, how far it is trusted';
COMMENT ON COLUMN control.sources.source IS 'The name of its Airflow connection, as control.known_sources has it';
COMMENT ON COLUMN control.sources.catch_up IS
'Which past windows are loaded: all; reliable: only while the source is; none: only the current window is ever loaded';
COMMENT ON COLUMN control.sources.reliability_threshold IS 'The share of good checks from which a source is reliable';
COMMENT ON COLUMN control.sources.reliability_checks IS
'The share is taken over so many of the newest checks; with fewer of them a source is not reliable yet';
COMMENT ON COLUMN control.sources.catch_up_limit IS 'A reliable source catches up no further back than this';
COMMENT ON COLUMN control.sources.statement_timeout IS 'A statement that the source needs longer for is given up';

-- Says what the foreign key cannot: which sources there are.
CREATE OR REPLACE FUNCTION control.refuse_unknown_source() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM control.known_sources AS k WHERE k.source = NEW.source) THEN
        RAISE EXCEPTION 'unknown source "%"; known: %; a new one is first added to control.known_sources', NEW.source,
            (SELECT string_agg(k.source, ', ' ORDER BY k.source) FROM control.known_sources AS k)
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'source_is_known';
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE TRIGGER source_is_named BEFORE INSERT OR UPDATE OF source ON control.sources
FOR EACH ROW EXECUTE FUNCTION control.refuse_unknown_source();

REVOKE EXECUTE ON FUNCTION control.refuse_unknown_source FROM public;
GRANT SELECT ON control.known_sources TO loader, analyst;
GRANT INSERT, UPDATE, DELETE ON control.known_sources TO operator;
GRANT INSERT, UPDATE ON control.sources TO operator;

-- One row a look at a source. A run looks once; its load adds a row only when the source broke off under it.
CREATE TABLE IF NOT EXISTS ops.source_checks (
    check_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    window_range tstzrange NOT NULL,
    checked_at timestamptz NOT NULL,
    reachable boolean NOT NULL,
    latency_seconds numeric(12, 3) NOT NULL,
    complete boolean,
    error text,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    try_number integer NOT NULL,
    CONSTRAINT a_source_that_is_away_is_not_complete CHECK (reachable OR complete IS NOT TRUE)
);

DO $$
BEGIN
    PERFORM control.add_rule_of_records(
        'ops.source_checks', 'window_is_usual',
        'control.is_usual_window(window_range)'
    );
    PERFORM control.add_rule_of_records(
        'ops.source_checks', 'names_are_short',
        'control.are_names(source, dag_id, run_id)'
    );
    PERFORM control.add_rule_of_records(
        'ops.source_checks', 'counts_are_usual',
        'control.are_counts(latency_seconds)'
    );
END;
$$;

CREATE INDEX IF NOT EXISTS source_checks_of_source ON ops.source_checks (source, check_id);
CREATE INDEX IF NOT EXISTS source_checks_by_window ON ops.source_checks (source, lower(window_range));

COMMENT ON COLUMN ops.source_checks.complete IS 'Whether the window is complete there; null: it is not due yet';
COMMENT ON COLUMN ops.source_checks.latency_seconds IS 'How long it took to get the answer, or to give up';

-- One row each time the reliability of a source switched its catch-up on or off.
CREATE TABLE IF NOT EXISTS ops.catch_up_changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    changed_at timestamptz NOT NULL,
    catches_up boolean NOT NULL,
    reason text NOT NULL,
    dag_id text NOT NULL,
    run_id text NOT NULL
);

-- One row a source: how reliable it has been, and whether it catches up on past windows.
CREATE OR REPLACE VIEW ops.source_reliability AS
WITH measured AS (
    SELECT
        s.source,
        s.dataset,
        s.catch_up,
        s.reliability_threshold,
        s.reliability_checks,
        s.catch_up_limit,
        recent.checks,
        recent.good_checks,
        recent.good_checks::numeric / nullif(recent.checks, 0) AS reliability,
        failure.checked_at AS last_failure_at,
        recent.checks >= s.reliability_checks
        AND recent.good_checks >= s.reliability_threshold * recent.checks AS is_reliable
    FROM control.sources AS s
    CROSS JOIN
        LATERAL (
            SELECT
                count(*) AS checks,
                count(*) FILTER (WHERE newest.is_good) AS good_checks
            FROM (
                SELECT k.reachable AND k.complete IS NOT FALSE AS is_good
                FROM ops.source_checks AS k
                WHERE k.source = s.source
                ORDER BY k.check_id DESC
                LIMIT s.reliability_checks
            ) AS newest
        ) AS recent
    LEFT JOIN LATERAL (
        SELECT k.checked_at
        FROM ops.source_checks AS k
        WHERE k.source = s.source AND NOT (k.reachable AND k.complete IS NOT FALSE)
        ORDER BY k.check_id DESC
        LIMIT 1
    ) AS failure ON TRUE
    WHERE s.strategy = 'windows'
)

SELECT
    source,
    dataset,
    catch_up,
    reliability_threshold,
    reliability_checks,
    catch_up_limit,
    checks,
    good_checks,
    reliability,
    last_failure_at,
    ops.clock() - last_failure_at AS since_last_failure,
    CASE catch_up WHEN 'all' THEN TRUE WHEN 'none' THEN FALSE ELSE is_reliable END AS catches_up,
    CASE catch_up
        WHEN 'all' THEN 'control.sources says to catch up on all'
        WHEN 'none' THEN 'control.sources says never to catch up'
        ELSE
            good_checks || ' of the last ' || checks || ' checks were good, '
            || CASE
                WHEN checks < reliability_checks THEN reliability_checks || ' are needed to judge by'
                ELSE
                    CASE WHEN is_reliable THEN 'enough for' ELSE 'fewer than' END || ' the threshold of '
                    || trim_scale(reliability_threshold)
            END
    END AS reason
FROM measured;

-- Records a look at a source. Where its reliability thereby switches the catch-up, that is recorded too, once:
-- flipped says so.
CREATE OR REPLACE FUNCTION ops.record_source_check(
    p_source text,
    p_window tstzrange,
    p_reachable boolean,
    p_seconds numeric,
    p_complete boolean,
    p_error text,
    p_dag_id text,
    p_run_id text,
    p_try integer,
    OUT catches_up boolean,
    OUT reason text,
    OUT flipped boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found ops.source_reliability;
BEGIN
    PERFORM ops.take_turn('check of ' || p_source);
    INSERT INTO ops.source_checks (
        source, window_range, checked_at, reachable, latency_seconds, complete, error, dag_id, run_id, try_number
    )
    VALUES (
        p_source, p_window, ops.clock(), p_reachable, p_seconds, p_complete, control.cut(p_error), p_dag_id, p_run_id, p_try
    );
    SELECT * INTO found FROM ops.source_reliability AS r WHERE r.source = p_source;
    IF found.source IS NULL THEN
        RAISE EXCEPTION 'unknown source "%"; known: %', p_source,
            (SELECT string_agg(s.source, ', ' ORDER BY s.source) FROM control.sources AS s WHERE s.strategy = 'windows')
            USING ERRCODE = 'HW001';
    END IF;
    catches_up := found.catches_up;
    reason := found.reason;
    flipped := found.catch_up = 'reliable' AND catches_up <> coalesce(
        (
            SELECT c.catches_up FROM ops.catch_up_changes AS c
            WHERE c.source = p_source ORDER BY c.change_id DESC LIMIT 1
        ), false
    );
    IF flipped THEN
        INSERT INTO ops.catch_up_changes (source, changed_at, catches_up, reason, dag_id, run_id)
        VALUES (p_source, ops.clock(), catches_up, reason, p_dag_id, p_run_id);
    END IF;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.record_source_check FROM public;
GRANT EXECUTE ON FUNCTION ops.record_source_check TO loader;
GRANT SELECT ON ops.source_checks, ops.catch_up_changes, ops.source_reliability TO loader, analyst;
