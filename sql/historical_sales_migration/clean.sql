-- One row per extracted sale: the published columns, the reason if it is rejected, and its copy number. source_row is
-- the row itself: building jsonb here, which only rejected rows need, would cost more than everything else.
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
)

SELECT
    c.sale_id,
    c.sold_at,
    c.store_code,
    c.till_no,
    c.product_code,
    c.quantity,
    c.unit_price,
    c.discount,
    c.revenue,
    c.currency,
    c.payment_method,
    c.customer_id,
    c.receipt_no,
    c.source_row,
    c.copy_no,
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
FROM copies AS c;
