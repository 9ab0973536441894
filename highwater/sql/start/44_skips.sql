-- What an older warehouse took for a skip, or what was one on another grid: no remark about a window, but a hole that
-- nobody sees. It goes, so that its windows count as missing again, and the start says so.
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
                    -- Whether any is, in sum, before each is looked up.
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
        RAISE WARNING '% is no window of % that could be skipped: the remark "%" about it is taken back',
            gone.window_range, gone.dataset, gone.rule;
    END LOOP;
END;
$$;
