-- One row: the anchor of this platform, so that a lost home folder does not move the start dates.
CREATE TABLE control.platform (
    only_row boolean PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    anchor date NOT NULL,
    policies_applied_at timestamptz,
    clock_may_be_set boolean NOT NULL DEFAULT FALSE,
    keep_versions_days integer NOT NULL DEFAULT 7,
    refused_rows_since timestamptz,
    CONSTRAINT keep_versions_days_is_not_negative CHECK (keep_versions_days >= 0)
);

COMMENT ON COLUMN control.platform.clock_may_be_set IS
'Whether sessions may pin ops.clock() by SET highwater.now: the last start had HIGHWATER_NOW or HIGHWATER_NOW_FILE';
COMMENT ON COLUMN control.platform.policies_applied_at IS 'When config/catchup.yaml was applied: at the first start';
COMMENT ON COLUMN control.platform.keep_versions_days IS
'For so long a version of a window is kept after other content replaced it; 0: it is not';
COMMENT ON COLUMN control.platform.refused_rows_since IS
'Refused rows of windows that ended by then were deleted: they are not counted against the ledger';
