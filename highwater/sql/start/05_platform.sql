INSERT INTO control.platform (anchor) VALUES (current_setting('highwater.anchor')::date)
ON CONFLICT (only_row) DO UPDATE
    SET anchor = excluded.anchor
    WHERE platform.anchor <> excluded.anchor;

UPDATE control.platform SET clock_may_be_set = current_setting('highwater.clock_may_be_set')::boolean
WHERE clock_may_be_set <> current_setting('highwater.clock_may_be_set')::boolean;

UPDATE control.platform
SET keep_versions_days = current_setting('highwater.keep_versions_days')::integer
WHERE keep_versions_days <> current_setting('highwater.keep_versions_days')::integer;
