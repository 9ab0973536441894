-- The guard on volume: a reload that would lose too many of the rows that are published stops, until a person has
-- accepted it. Run as publisher; again is harmless. ops.publish_window asks and uses up what was accepted.

-- Postgres 17 adds no column with a default to a table whose row type a function takes: so in steps.
ALTER TABLE control.datasets
ADD COLUMN IF NOT EXISTS on_shrink text,
ADD COLUMN IF NOT EXISTS max_shrink numeric(4, 3);

ALTER TABLE control.datasets
ALTER COLUMN on_shrink SET DEFAULT 'stop',
ALTER COLUMN max_shrink SET DEFAULT 0.500;

UPDATE control.datasets SET on_shrink = 'stop'
WHERE on_shrink IS NULL;

UPDATE control.datasets SET max_shrink = 0.500
WHERE max_shrink IS NULL;

ALTER TABLE control.datasets
ALTER COLUMN on_shrink SET NOT NULL,
ALTER COLUMN max_shrink SET NOT NULL,
DROP CONSTRAINT IF EXISTS on_shrink_is_stop_or_accept,
ADD CONSTRAINT on_shrink_is_stop_or_accept CHECK (on_shrink IN ('stop', 'accept')),
DROP CONSTRAINT IF EXISTS max_shrink_is_between_0_and_1,
ADD CONSTRAINT max_shrink_is_between_0_and_1 CHECK (max_shrink BETWEEN 0 AND 1);

COMMENT ON COLUMN control.datasets.on_shrink IS
'What a reload does that would lose more than max_shrink of the published rows: accept, or stop until '
'scripts/highwater accept';
COMMENT ON COLUMN control.datasets.max_shrink IS
'The share of the published rows of a window that a reload may lose without being asked: 0.5 is half of them';

GRANT UPDATE (on_shrink, max_shrink) ON control.datasets TO operator;

-- One row a window for which a person accepts that its next load has so much less; one load uses it up.
CREATE TABLE IF NOT EXISTS control.accepted_reloads (
    accepted_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    accepted_by text NOT NULL,
    login text NOT NULL DEFAULT session_user,
    reason text NOT NULL,
    accepted_at timestamptz NOT NULL,
    used_at timestamptz,
    used_by_run text,
    CONSTRAINT says_who_and_why CHECK (accepted_by ~ '\S' AND reason ~ '\S'),
    CONSTRAINT used_by_a_run_at_a_time CHECK ((used_at IS NULL) = (used_by_run IS NULL))
);

CREATE UNIQUE INDEX IF NOT EXISTS a_window_is_accepted_once ON control.accepted_reloads (dataset, window_range)
WHERE used_at IS NULL;

COMMENT ON TABLE control.accepted_reloads IS
'What a person accepted of the guard on volume: one load of a window with much less than it had, or with nothing';
COMMENT ON COLUMN control.accepted_reloads.login IS 'The role of the warehouse that said so';
COMMENT ON COLUMN control.accepted_reloads.used_at IS 'Null: no load has used it yet';

-- Accepts that the next load of a window has much less than what is published. Returns the row that stands: where one
-- was accepted already and not used, that one.
CREATE OR REPLACE FUNCTION ops.accept_shrink(p_dataset text, p_window tstzrange, p_by text, p_reason text)
RETURNS control.accepted_reloads
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    wanted control.datasets := ops.dataset_with_window(p_dataset, p_window);
    standing control.accepted_reloads;
BEGIN
    p_by := control.words('by', p_by, 'HW008');
    p_reason := control.words('reason', p_reason, 'HW008');
    IF upper(p_window) > ops.clock() THEN
        RAISE EXCEPTION '% % has not ended yet: only a load that can come is accepted', p_dataset, p_window
            USING ERRCODE = 'HW008';
    END IF;
    INSERT INTO control.accepted_reloads (dataset, window_range, accepted_by, login, reason, accepted_at)
    VALUES (wanted.dataset, p_window, p_by, session_user, p_reason, ops.clock())
    ON CONFLICT (dataset, window_range) WHERE used_at IS NULL DO NOTHING;
    SELECT * INTO STRICT standing FROM control.accepted_reloads AS a
    WHERE a.dataset = wanted.dataset AND a.window_range = p_window AND a.used_at IS NULL;
    RETURN standing;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.accept_shrink FROM public;
GRANT EXECUTE ON FUNCTION ops.accept_shrink TO operator;
GRANT SELECT ON control.accepted_reloads TO loader, analyst;
