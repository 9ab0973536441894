-- One row per extracted order: the published columns, and the reason if it is rejected. A deleted order that is
-- published is never rejected: if its last state is invalid, the published values are kept.
WITH judged AS (
    SELECT
        r.*,
        CASE
            WHEN r.order_id IS NULL THEN 'null key'
            WHEN r.customer_id IS NULL THEN 'no customer'
            WHEN r.amount IS NULL OR r.amount <= 0 THEN 'amount not positive'
            WHEN r.currency IS NULL OR r.currency NOT IN ('EUR', 'USD', 'GBP', 'CHF') THEN 'unknown currency'
            WHEN r.status NOT IN ('placed', 'paid', 'shipped', 'delivered', 'cancelled') THEN 'unknown status'
            WHEN r.placed_at > r.updated_at + '1 day'::interval THEN 'placed in the future'
        END AS reason,
        to_jsonb(r) - 'changed_at' AS source_row
    FROM raw AS r
)

SELECT
    j.order_id,
    CASE WHEN p.order_id IS NULL THEN j.customer_id ELSE p.customer_id END AS customer_id,
    CASE WHEN p.order_id IS NULL THEN j.status ELSE p.status END AS status,
    CASE WHEN p.order_id IS NULL THEN j.amount ELSE p.amount END AS amount,
    CASE WHEN p.order_id IS NULL THEN j.currency ELSE p.currency END AS currency,
    CASE WHEN p.order_id IS NULL THEN j.placed_at ELSE p.placed_at END AS placed_at,
    CASE WHEN p.order_id IS NULL THEN j.updated_at ELSE p.updated_at END AS updated_at,
    j.deleted_at,
    CASE WHEN p.order_id IS NULL THEN j.reason END AS reason,
    j.source_row
FROM judged AS j
LEFT JOIN sales.orders AS p
    ON j.reason IS NOT NULL AND j.deleted_at IS NOT NULL AND j.order_id = p.order_id;
