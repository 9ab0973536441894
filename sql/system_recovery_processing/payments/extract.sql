-- One row a payment of the batch, as it stands there.
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
