-- One row: the start of the oldest batch that the source still has, null if it has no batches.
SELECT min(batch_start) AS kept_from
FROM billing.closed_batches;
