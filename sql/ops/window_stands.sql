-- One row where there is a reason not to load a window unasked, none where there is none: it has landed, or a rule says
-- to skip it. Looked up by the keys of both tables.
SELECT
    'landed' AS verdict,
    'covered: landed version ' || l.version || ' by run ' || l.run_id AS sentence
FROM ops.window_ledger AS l
WHERE l.dataset = %(dataset)s AND l.window_range = %(window_range)s
UNION ALL
SELECT
    'skipped' AS verdict,
    'skipped by the rule ' || s.rule || ': ' || s.reason AS sentence
FROM ops.skipped_windows AS s
WHERE s.dataset = %(dataset)s AND s.window_range = %(window_range)s
LIMIT 1;
