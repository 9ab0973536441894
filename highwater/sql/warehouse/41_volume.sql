-- The guard on volume: a reload that would lose most of a window, or an empty window that the source says is not empty,
-- stops until a person accepts it. Run as publisher; idempotent.

-- Refuses a set that would lose more than the dataset allows, unless a person has accepted that for this window. The
-- next load uses up what was accepted, whether it needs it or not.
CREATE OR REPLACE FUNCTION ops.assert_volume(
    p_wanted control.datasets,
    p_window tstzrange,
    p_former ops.window_ledger,
    p_set ops.staging_sets,
    p_expected_rows bigint,
    p_run_id text
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    problem text;
BEGIN
    problem := CASE
        WHEN p_wanted.on_shrink = 'accept' THEN NULL
        WHEN p_former.rows_published - p_set.rows_published > p_wanted.max_shrink * p_former.rows_published
            THEN format(
                '%s rows have landed, %s would take their place: more than the share of %s is lost',
                p_former.rows_published, p_set.rows_published, p_wanted.max_shrink
            )
        WHEN p_set.rows_extracted = 0 AND p_expected_rows > 0
            THEN format('no row was extracted, but the source says that it has %s', p_expected_rows)
    END;
    UPDATE control.accepted_reloads AS a
    SET used_at = ops.clock(), used_by_run = p_run_id
    WHERE a.dataset = p_wanted.dataset AND a.window_range = p_window AND a.used_at IS NULL;
    IF problem IS NOT NULL AND NOT found THEN
        RAISE EXCEPTION '% % is not published: %', p_wanted.dataset, p_window, problem
            USING
                ERRCODE = 'HW007',
                HINT = format('If that is right: scripts/highwater accept %s %s --reason …', p_wanted.dataset, to_char(
                    lower(p_window) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI'
                ));
    END IF;
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.assert_volume FROM public;
