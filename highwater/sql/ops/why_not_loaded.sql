-- One row if a window is not to be loaded automatically, else no row: it is held, has landed, or is skipped by a rule.
-- Found by the keys of the tables.
SELECT
    CASE WHEN held.because IS NULL THEN 'landed' ELSE 'held' END AS verdict,
    'covered: landed version ' || l.version || ' by run ' || l.run_id || coalesce('; held, ' || held.because, '')
        AS sentence
FROM ops.window_ledger AS l
CROSS JOIN LATERAL ops.held_because(l.dataset, l.window_range) AS held (because)
WHERE l.dataset = %(dataset)s AND l.window_range = %(window_range)s
UNION ALL
SELECT
    'skipped' AS verdict,
    'skipped by the rule ' || s.rule || ': ' || s.reason AS sentence
FROM ops.skipped_windows AS s
WHERE s.dataset = %(dataset)s AND s.window_range = %(window_range)s
LIMIT 1;
