-- What of a backfill is still wanted when its turn comes. Run as publisher; again is harmless.

-- By which rule a window that a backfill is to load is not wanted any more, and why; null where it still is. The rules
-- are those of its plan, asked again when its turn comes: somebody may have closed a day, or the source lost it.
CREATE OR REPLACE FUNCTION control.not_wanted_any_more(
    asked control.backfills, p_window tstzrange, OUT rule text, OUT reason text
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    SELECT v.rule, v.reason
    FROM (
        SELECT u.place, u.rule, u.reason
        FROM control.unwanted_by_rule(asked.dataset, ops.clock(), p_window) AS u
        WHERE u.window_ranges @> p_window AND u.rule <> 'skip_closed_days'
        UNION ALL
        SELECT 5, 'skip_closed_days', control.closed_because(asked.dataset, p_window)
        WHERE
            asked.closed_days = 'skip'
            AND NOT EXISTS (
                SELECT FROM generate_series(
                    date_trunc('day', lower(p_window)), upper(p_window) - '1 microsecond'::interval, '1 day'
                ) AS d (day)
                WHERE
                    NOT EXISTS (
                        SELECT FROM control.sound_closed_days AS c
                        WHERE c.day = d.day::date AND coalesce(c.dataset, asked.dataset) = asked.dataset
                    )
                    AND NOT EXISTS (
                        SELECT FROM control.sound_policies AS p
                        WHERE p.dataset = asked.dataset AND extract(ISODOW FROM d.day) = ANY(p.skip_weekdays)
                    )
            )
        UNION ALL
        SELECT 6, s.rule, s.reason
        FROM ops.skipped_windows AS s
        WHERE asked.which <> 'all' AND s.dataset = asked.dataset AND s.window_range = p_window
    ) AS v
    ORDER BY v.place
    LIMIT 1
$$;

REVOKE EXECUTE ON FUNCTION control.not_wanted_any_more FROM public;
