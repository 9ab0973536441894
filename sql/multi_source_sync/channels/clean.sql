-- One row an order in `clean`. A sale that hands over an order of the partner counts there, once: the answer is how
-- many there were.
WITH kept AS (
    INSERT INTO clean (
        id, sold_at, channel, product_code, quantity, amount, rests_on_store, rests_on_partner, rests_on_supplier
    )
    SELECT
        r.id,
        r.sold_at,
        r.channel,
        r.product_code,
        r.quantity,
        r.amount,
        r.rests_on_store,
        r.rests_on_partner,
        r.rests_on_supplier
    FROM raw AS r
    WHERE NOT r.is_partners
)

SELECT count(*) AS rows_deduplicated
FROM raw
WHERE is_partners;
