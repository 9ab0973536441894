INSERT INTO control.platform (anchor, clock_may_be_set, keep_versions_days)
VALUES (
    current_setting('highwater.anchor')::date,
    current_setting('highwater.clock_may_be_set')::boolean,
    current_setting('highwater.keep_versions_days')::integer
)
ON CONFLICT (only_row) DO UPDATE
    SET
        anchor = excluded.anchor,
        clock_may_be_set = excluded.clock_may_be_set,
        keep_versions_days = excluded.keep_versions_days
    WHERE (platform.anchor, platform.clock_may_be_set, platform.keep_versions_days)
    <> (excluded.anchor, excluded.clock_may_be_set, excluded.keep_versions_days);
