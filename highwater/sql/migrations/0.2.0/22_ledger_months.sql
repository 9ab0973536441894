CREATE INDEX window_ledger_by_landing ON ops.window_ledger (dataset, landed_at);

-- One row per dataset, month (UTC) in which windows begin, and length of them. Windows of one length that touch lie on
-- the same grid, so a stretch is on it if its start is. Of a dataset that runs by watermark the lengths are one: '0'.
CREATE TABLE ops.ledger_months (
    dataset text NOT NULL REFERENCES control.datasets ON DELETE CASCADE,
    month timestamptz NOT NULL,
    step interval NOT NULL,
    landed tstzmultirange NOT NULL DEFAULT '{}',
    skipped tstzmultirange NOT NULL DEFAULT '{}',
    rows_extracted bigint NOT NULL DEFAULT 0,
    rows_published bigint NOT NULL DEFAULT 0,
    rows_quarantined bigint NOT NULL DEFAULT 0,
    rows_deduplicated bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (dataset, month, step)
-- Each landing changes a row of it: room for that on its page.
) WITH (fillfactor = 50);

COMMENT ON TABLE ops.ledger_months IS 'ops.window_ledger and ops.skipped_windows in sum, kept by triggers on both';
COMMENT ON COLUMN ops.ledger_months.landed IS 'The stretches that landed';
COMMENT ON COLUMN ops.ledger_months.skipped IS 'The stretches that ops.skipped_windows names';
