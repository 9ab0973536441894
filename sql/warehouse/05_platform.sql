-- One row: the anchor of this platform, so that a lost home folder does not move the start dates.
CREATE TABLE IF NOT EXISTS control.platform (
    only_row boolean PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    anchor date NOT NULL
);

INSERT INTO control.platform (anchor) VALUES (current_setting('highwater.anchor')::date)
ON CONFLICT (only_row) DO UPDATE
    SET anchor = excluded.anchor
    WHERE platform.anchor <> excluded.anchor;

ALTER TABLE control.platform
ADD COLUMN IF NOT EXISTS policies_applied_at timestamptz;

ALTER TABLE control.platform
ADD COLUMN IF NOT EXISTS clock_may_be_set boolean NOT NULL DEFAULT FALSE;

UPDATE control.platform SET clock_may_be_set = current_setting('highwater.clock_may_be_set')::boolean
WHERE clock_may_be_set <> current_setting('highwater.clock_may_be_set')::boolean;

COMMENT ON COLUMN control.platform.clock_may_be_set IS
'Whether sessions may pin ops.clock() by SET highwater.now: the last start had HIGHWATER_NOW or HIGHWATER_NOW_FILE';
COMMENT ON COLUMN control.platform.policies_applied_at IS 'When config/catchup.yaml was applied: at the first start';

GRANT SELECT ON control.platform TO loader, analyst;
