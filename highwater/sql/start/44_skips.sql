-- Skips of an older warehouse, or of another grid, that match no window now would hide gaps. They are deleted with a
-- warning, so that their windows count as missing again.
DO $$
DECLARE
    gone record;
BEGIN
    FOR gone IN
        DELETE FROM ops.skipped_windows AS s
        USING control.datasets AS d
        WHERE
            d.dataset = s.dataset
            AND (
                NOT coalesce(control.is_window(d, s.window_range), FALSE)
                OR upper(s.window_range) > control.due_until(d, ops.clock())
                OR (
                    -- Whether any overlap, by the sums, before each is looked up.
                    s.dataset IN (
                        SELECT m.dataset FROM ops.ledger_months AS m
                        GROUP BY m.dataset
                        HAVING range_agg(m.landed) && range_agg(m.skipped)
                    )
                    AND EXISTS (
                        SELECT FROM ops.window_ledger AS l
                        WHERE l.dataset = s.dataset AND l.window_range && s.window_range
                    )
                )
            )
        RETURNING s.dataset, s.window_range, s.rule
    LOOP
        RAISE WARNING '% is not a window of % that can be skipped: its skip by the rule "%" is deleted',
            gone.window_range, gone.dataset, gone.rule;
    END LOOP;
END;
$$;
