-- One row a sale in `clean`, one a refused row in `rejected`; the answer counts the copies that were dropped.
-- The whole row is carried as it is: as jsonb, which only the refused need, it costs more than all the rest.
WITH tidy AS (
    SELECT
        r.business_date,
        r.sale_id,
        r.sold_at,
        upper(trim(r.store_code)) AS store_code,
        r.till_no,
        upper(trim(r.product_code)) AS product_code,
        r.quantity,
        r.unit_price,
        r.discount,
        r.quantity * r.unit_price - r.discount AS revenue,
        upper(trim(r.currency)) AS currency,
        lower(trim(r.payment_method)) AS payment_method,
        r.customer_id,
        trim(r.receipt_no) AS receipt_no,
        r AS source_row
    FROM raw AS r
),

fingerprinted AS (
    SELECT
        t.*,
        hash_record_extended(
            row(
                t.sold_at, t.store_code, t.till_no, t.product_code, t.quantity, t.unit_price, t.discount,
                t.currency, t.payment_method, t.customer_id, t.receipt_no
            ),
            0
        ) AS fingerprint
    FROM tidy AS t
),

copies AS (
    SELECT
        f.*,
        row_number() OVER same_sale AS copy_no,
        min(f.fingerprint) OVER whole_sale <> max(f.fingerprint) OVER whole_sale AS copies_differ
    FROM fingerprinted AS f
    WINDOW
        same_sale AS (PARTITION BY f.sale_id ORDER BY f.fingerprint),
        whole_sale AS (PARTITION BY f.sale_id)
),

judged AS MATERIALIZED (
    SELECT
        c.*,
        CASE
            WHEN c.sale_id IS NULL THEN 'null key'
            WHEN
                num_nulls(c.sold_at, c.store_code, c.till_no, c.product_code, c.payment_method, c.receipt_no) > 0
                THEN 'value missing'
            WHEN c.quantity IS NULL OR c.quantity <= 0 THEN 'quantity not positive'
            -- NaN is greater than every number
            WHEN c.unit_price IS NULL OR c.unit_price <= 0 OR c.unit_price = 'NaN' THEN 'unit price not positive'
            WHEN c.discount IS NULL OR c.discount < 0 OR c.discount = 'NaN' OR c.revenue < 0
                THEN 'discount out of range'
            WHEN c.currency IS NULL OR c.currency NOT IN ('EUR', 'USD', 'GBP', 'CHF') THEN 'unknown currency'
            WHEN c.sold_at < %(window_start)s OR c.sold_at >= %(window_end)s
                THEN 'sold outside the day'
            WHEN c.copies_differ THEN 'copies of one sale differ'
        END AS reason
    FROM copies AS c
),

cleaned AS (
    INSERT INTO clean (
        sale_id, sold_at, store_code, till_no, product_code, quantity, unit_price, discount, revenue,
        currency, payment_method, customer_id, receipt_no
    )
    SELECT
        j.sale_id,
        j.sold_at,
        j.store_code,
        j.till_no,
        j.product_code,
        j.quantity,
        j.unit_price,
        j.discount,
        j.revenue,
        j.currency,
        j.payment_method,
        j.customer_id,
        j.receipt_no
    FROM judged AS j
    WHERE j.reason IS NULL AND j.copy_no = 1
),

refused AS (
    INSERT INTO rejected (reason, source_row)
    SELECT
        j.reason,
        to_jsonb(j.source_row) AS source_row
    FROM judged AS j
    WHERE j.reason IS NOT NULL
)

SELECT count(*) AS rows_deduplicated
FROM judged
WHERE reason IS NULL AND copy_no > 1;
