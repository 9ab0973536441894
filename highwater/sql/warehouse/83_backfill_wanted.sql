-- Whether a window of a backfill is still wanted when its turn comes. Run as publisher; idempotent.

-- The rule by which a planned window of a backfill has become unwanted, and why; null if it is still wanted. The rules
-- of the plan are checked again when its turn comes: a day may have been closed since, or the source may have lost it.
CREATE OR REPLACE FUNCTION control.not_wanted_any_more(
    requested control.backfills, p_window tstzrange, OUT rule text, OUT reason text
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
    SELECT v.rule, v.reason
    FROM (
        SELECT u.place, u.rule, u.reason
        FROM control.unwanted_by_rule(requested.dataset, ops.clock(), p_window) AS u
        WHERE u.window_ranges @> p_window AND u.rule <> 'skip_closed_days'
        UNION ALL
        SELECT 5, 'skip_closed_days', control.closed_because(requested.dataset, p_window)
        WHERE
            requested.closed_days = 'skip'
            AND NOT EXISTS (
                SELECT FROM generate_series(
                    date_trunc('day', lower(p_window)), upper(p_window) - '1 microsecond'::interval, '1 day'
                ) AS d (day)
                WHERE
                    NOT EXISTS (
                        SELECT FROM control.sound_closed_days AS c
                        WHERE c.day = d.day::date AND coalesce(c.dataset, requested.dataset) = requested.dataset
                    )
                    AND NOT EXISTS (
                        SELECT FROM control.sound_policies AS p
                        WHERE p.dataset = requested.dataset AND extract(ISODOW FROM d.day) = ANY(p.skip_weekdays)
                    )
            )
        UNION ALL
        SELECT 6, s.rule, s.reason
        FROM ops.skipped_windows AS s
        WHERE requested.which <> 'all' AND s.dataset = requested.dataset AND s.window_range = p_window
    ) AS v
    ORDER BY v.place
    LIMIT 1
$$;

REVOKE EXECUTE ON FUNCTION control.not_wanted_any_more FROM public;
