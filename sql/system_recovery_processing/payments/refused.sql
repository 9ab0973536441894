-- One row: the numbers of the payments of the windows that are in quarantine.
SELECT coalesce(array_agg((q.source_row ->> 'payment_id')::bigint), '{}'::bigint[]) AS refused
FROM quarantine.rejected_rows AS q
WHERE
    q.dataset = 'payments'
    AND lower(q.window_range) >= %(window_start)s AND lower(q.window_range) < %(window_end)s
    AND q.source_row ->> 'payment_id' IS NOT NULL;
