-- One row a hold: who holds the window and why, and who let go of it and why.
CREATE TABLE ops.holds (
    hold_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL REFERENCES control.datasets,
    window_range tstzrange NOT NULL,
    rollback_id bigint NOT NULL REFERENCES ops.rollbacks ON DELETE CASCADE,
    held_by text NOT NULL,
    login text NOT NULL DEFAULT session_user,
    reason text NOT NULL,
    held_at timestamptz NOT NULL DEFAULT ops.clock(),
    released_at timestamptz,
    released_by text,
    released_login text,
    release_reason text,
    CONSTRAINT a_release_says_who_and_why CHECK (
        num_nonnulls(released_at, released_by, released_login, release_reason) IN (0, 4)
    )
);

CREATE UNIQUE INDEX a_window_is_held_once ON ops.holds (dataset, window_range) WHERE released_at IS NULL;

COMMENT ON TABLE ops.holds IS 'Windows put back to a former version: nothing replaces them before a release';
COMMENT ON COLUMN ops.holds.login IS 'The role of the warehouse that held it';
