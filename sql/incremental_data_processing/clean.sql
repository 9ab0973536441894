-- One row an order in `clean`, one a refused one in `rejected`. An order that is gone is never refused while it is
-- published: then it keeps what was published of it.
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
        END AS reason
    FROM raw AS r
),

published AS (
    SELECT
        j.deleted_at AS gone_at,
        p.*
    FROM judged AS j
    INNER JOIN sales.orders AS p USING (order_id)
    WHERE j.reason IS NOT NULL AND j.deleted_at IS NOT NULL
),

cleaned AS (
    INSERT INTO clean (order_id, customer_id, status, amount, currency, placed_at, updated_at, deleted_at)
    SELECT
        order_id,
        customer_id,
        status,
        amount,
        currency,
        placed_at,
        updated_at,
        deleted_at
    FROM judged
    WHERE reason IS NULL
    UNION ALL
    SELECT
        order_id,
        customer_id,
        status,
        amount,
        currency,
        placed_at,
        updated_at,
        gone_at
    FROM published
),

refused AS (
    INSERT INTO rejected (reason, source_row)
    SELECT
        j.reason,
        to_jsonb(j) - 'reason' - 'changed_at' AS source_row
    FROM judged AS j
    WHERE
        j.reason IS NOT NULL AND NOT EXISTS (
            SELECT FROM published AS p
            WHERE p.order_id = j.order_id
        )
)

SELECT 0 AS rows_deduplicated;
