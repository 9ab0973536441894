-- One row per payment of the batch, unchanged.
SELECT
    payment_id,
    order_id,
    paid_at,
    amount,
    currency,
    method,
    status
FROM billing.payments
WHERE batch_start = %(window_start)s;
