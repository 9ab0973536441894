-- One row per backfill that is not finished, or finished in the last day; newest first.
SELECT
    p.backfill_id,
    p.dataset,
    p.state,
    p.via,
    p.requested_by,
    p.reason,
    p.from_time,
    p.to_time,
    p.windows_total,
    p.windows_done,
    p.landed,
    p.failed,
    p.skipped,
    p.running,
    p.windows_left,
    p.percent,
    p.windows_per_minute,
    p.eta,
    p.at_least,
    p.at_most,
    p.requested_at,
    p.started_at,
    p.ended_at,
    p.note
FROM ops.backfill_progress AS p
WHERE
    p.dataset = any(%(datasets)s::text[])
    AND (
        p.state IN ('requested', 'running', 'paused', 'stopped')
        OR coalesce(p.ended_at, p.requested_at) > ops.clock() - '1 day'::interval
    )
ORDER BY p.backfill_id DESC
LIMIT 20;
