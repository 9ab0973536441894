-- One row: the cost of the run that landed the current version of a window, by its attempts. Run as loader.
SELECT
    s.version,
    s.rows_extracted,
    s.rows_published,
    s.rows_quarantined,
    s.rows_deduplicated,
    s.seconds,
    s.rows_per_second,
    s.peak_memory_bytes
FROM ops.summarise(%(dataset)s, %(window_range)s, %(dag_id)s, %(run_id)s) AS s;
