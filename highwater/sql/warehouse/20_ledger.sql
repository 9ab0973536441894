-- Access to what landed.
GRANT SELECT ON ops.window_ledger, ops.skipped_windows, quarantine.rejected_rows TO loader, analyst;
REVOKE INSERT, UPDATE ON ops.processing_summary FROM loader;
GRANT SELECT ON ops.processing_summary TO loader, analyst;
