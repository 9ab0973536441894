-- The dataset's source has been reliable, by the thresholds of control.sources; one without checks counts as reliable.
SELECT
    coalesce(bool_and(
        checks >= reliability_checks AND good_checks >= reliability_threshold * checks
    ), TRUE) AS holds
FROM ops.source_reliability
WHERE dataset = %(dataset)s;
