-- The sums of an older warehouse's ledger; the locks of the triggers keep writers out until they are there.
INSERT INTO ops.ledger_months
SELECT
    c.dataset,
    c.month,
    c.step,
    c.landed,
    c.skipped,
    c.rows_extracted,
    c.rows_published,
    c.rows_quarantined,
    c.rows_deduplicated
FROM ops.counted_months AS c
WHERE NOT EXISTS (SELECT FROM ops.ledger_months);
