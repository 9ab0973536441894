-- One row: the start of the oldest batch that the source still has, null when it has none.
SELECT min(batch_start) AS kept_from
FROM web.closed_batches;
