-- One row a sale of the shops' tills, of good quality; a partition a day.
CREATE TABLE IF NOT EXISTS sales.daily_sales (
    sale_id bigint NOT NULL,
    sold_at timestamptz NOT NULL,
    store_code text NOT NULL,
    till_no smallint NOT NULL,
    product_code text NOT NULL,
    quantity integer NOT NULL,
    unit_price numeric(10, 2) NOT NULL,
    discount numeric(10, 2) NOT NULL,
    revenue numeric(12, 2) NOT NULL,
    currency text NOT NULL,
    payment_method text NOT NULL,
    customer_id bigint,
    receipt_no text NOT NULL,
    PRIMARY KEY (sale_id, sold_at)
) PARTITION BY RANGE (sold_at);

COMMENT ON TABLE sales.daily_sales IS 'One row a sale; what landed of which day is in ops.window_ledger';
COMMENT ON COLUMN sales.daily_sales.revenue IS 'quantity × unit_price − discount, in currency';
COMMENT ON COLUMN sales.daily_sales.customer_id IS 'Empty for a sale without a customer card';
