-- What is risky about a policy. Run as publisher; again is harmless.

INSERT INTO control.incident_kinds (kind, escalate_after, needs_person, advice)
VALUES
(
    'catch-up off while windows are missing', '24 hours', FALSE,
    'Nothing loads these windows by itself. highwater policy history says who switched it off and why; '
    'highwater policy set DATASET --enabled lets them land, highwater backfill loads some of them.'
),
(
    'condition cannot be looked at', '2 hours', FALSE,
    'What it answered last still counts. control.condition_states has the error; the predicate is in '
    'sql/catchup_control/conditions/.'
)
ON CONFLICT (kind) DO UPDATE
    SET needs_person = excluded.needs_person, advice = excluded.advice
    WHERE (incident_kinds.needs_person, incident_kinds.advice) <> (excluded.needs_person, excluded.advice);

-- One row a dataset whose catch-up is switched off while windows are missing that would be loaded otherwise, and one a
-- condition that fails or hangs.
CREATE OR REPLACE VIEW ops.policy_troubles AS
WITH missing AS (
    SELECT
        d.dataset,
        p.changed_at,
        d.first_window,
        range_agg(g.window_range) - tstzmultirange(tstzrange(
            control.due_until(d, ops.clock()) - make_interval(secs => extract(EPOCH FROM d.step)), NULL
        )) AS window_ranges
    FROM control.catchup_policies AS p
    INNER JOIN control.datasets AS d USING (dataset)
    INNER JOIN ops.gaps AS g USING (dataset)
    WHERE NOT p.enabled
    GROUP BY d.dataset, d, p.changed_at
)

SELECT
    'catch-up off while windows are missing' AS kind,
    m.dataset AS subject,
    m.dataset,
    coalesce(m.changed_at, m.first_window) AS since,
    m.window_ranges
FROM missing AS m
WHERE NOT isempty(m.window_ranges)
UNION ALL
SELECT
    'condition cannot be looked at' AS kind,
    s.condition AS subject,
    s.dataset,
    s.error_since AS since,
    '{}'::tstzmultirange AS window_ranges
FROM control.condition_states AS s
WHERE s.error IS NOT NULL;

GRANT SELECT ON ops.policy_troubles TO loader, analyst;
