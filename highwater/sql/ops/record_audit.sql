-- Store an audit: one row per expectation. Run as loader, while an attempt of the run is under way.
SELECT
    ops.record_audit(
        %(dataset)s, tstzrange(%(window_start)s, %(window_end)s), %(dag_id)s, %(run_id)s, %(try_number)s, %(suite)s,
        %(audited_table)s, %(findings)s::jsonb
    ) AS stored;
