-- One row per extracted order. A sale that hands over an order of the partner is a copy of that order.
SELECT
    r.id,
    r.sold_at,
    r.channel,
    r.product_code,
    r.quantity,
    r.amount,
    r.rests_on_store,
    r.rests_on_partner,
    r.rests_on_supplier,
    r.copy_no
FROM raw AS r;
