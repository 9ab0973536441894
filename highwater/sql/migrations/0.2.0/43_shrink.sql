-- One row a window for which a person accepts that its next load has so much less; one load uses it up.
CREATE TABLE control.accepted_reloads (
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

CREATE UNIQUE INDEX a_window_is_accepted_once ON control.accepted_reloads (dataset, window_range)
WHERE used_at IS NULL;

COMMENT ON TABLE control.accepted_reloads IS
'What a person accepted of the guard on volume: one load of a window with much less than it had, or with nothing';
COMMENT ON COLUMN control.accepted_reloads.login IS 'The role of the warehouse that said so';
COMMENT ON COLUMN control.accepted_reloads.used_at IS 'Null: no load has used it yet';
