-- Records the policies that could not be read now, and opens an incident at once.
CREATE OR REPLACE FUNCTION ops.record_unread_policies(p_problems jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    LOCK TABLE ops.unread_policies IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM ops.unread_policies AS u WHERE NOT p_problems ? u.subject;
    INSERT INTO ops.unread_policies AS u (subject, problem, since)
    SELECT p.key, left(p.value, 500), ops.clock() FROM jsonb_each_text(p_problems) AS p
    ON CONFLICT (subject) DO UPDATE SET problem = excluded.problem WHERE u.problem <> excluded.problem;
    PERFORM ops.reconcile_incidents();
END;
$$;

REVOKE EXECUTE ON FUNCTION ops.record_unread_policies FROM public;
GRANT EXECUTE ON FUNCTION ops.record_unread_policies TO loader;
GRANT SELECT ON ops.unread_policies TO loader, analyst;

-- One row per dataset and invalid part of its policy: rows of an older warehouse that break a current rule, and what a
-- reader could not read.
CREATE OR REPLACE VIEW ops.policy_problems AS
SELECT
    p.dataset,
    'policy of ' || p.dataset AS subject,
    'invalid max_age ' || p.max_age || ': expected at most 36600 days' AS problem,
    p.changed_at AS since
FROM control.catchup_policies AS p
WHERE NOT control.is_usual_span(p.max_age)
UNION ALL
SELECT
    p.dataset,
    'policy of ' || p.dataset AS subject,
    'a condition has no name' AS problem,
    p.changed_at AS since
FROM control.catchup_policies AS p
WHERE array_position(p.conditions, NULL) IS NOT NULL
UNION ALL
SELECT
    d.dataset,
    'closed day ' || c.day || ' of ' || coalesce(c.dataset, 'every dataset') AS subject,
    'expected a day between 1900 and 2999' AS problem,
    (
        SELECT max(h.changed_at) FROM control.catchup_policy_history AS h
        WHERE h.what = 'closed day' AND h.new ->> 'day' = c.day::text AND h.dataset IS NOT DISTINCT FROM c.dataset
    ) AS since
FROM control.closed_days AS c
INNER JOIN control.datasets AS d ON c.dataset IS NULL OR c.dataset = d.dataset
WHERE NOT control.is_usual_day(c.day)
UNION ALL
SELECT
    d.dataset,
    u.subject,
    u.problem,
    u.since
FROM ops.unread_policies AS u
CROSS JOIN control.datasets AS d
WHERE
    u.subject = 'policy of ' || d.dataset
    OR u.subject NOT IN (SELECT 'policy of ' || k.dataset FROM control.datasets AS k);

GRANT SELECT ON ops.policy_problems TO loader, analyst;

-- One row per dataset whose catch-up is off while windows are missing that would be loaded otherwise, per condition
-- that fails or hangs, and per policy that cannot be read.
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
    'condition cannot be evaluated' AS kind,
    s.condition AS subject,
    s.dataset,
    s.error_since AS since,
    '{}'::tstzmultirange AS window_ranges
FROM control.condition_states AS s
WHERE s.error IS NOT NULL
UNION ALL
SELECT
    'policy cannot be read' AS kind,
    p.subject,
    p.dataset,
    coalesce(p.since, ops.clock()) AS since,
    '{}'::tstzmultirange AS window_ranges
FROM ops.policy_problems AS p;

GRANT SELECT ON ops.policy_troubles TO loader, analyst;
