-- One row for each order as it came. A sale that hands over an order of the partner is that order again.
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
