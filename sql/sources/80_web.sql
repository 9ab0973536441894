-- A simulated web site's log that delivers its page views in batches of six hours. Grain of web.page_views: one view of
-- one batch. Run as simulator in the database of the sources; idempotent.

CREATE SCHEMA IF NOT EXISTS web;

CREATE TABLE IF NOT EXISTS web.page_views (
    batch_start timestamptz NOT NULL,
    view_id bigint NOT NULL,
    session_id text,
    viewed_at timestamptz,
    path text,
    device text,
    seconds_on_page integer
);

CREATE INDEX IF NOT EXISTS page_views_by_batch ON web.page_views (batch_start);

CREATE TABLE IF NOT EXISTS web.closed_batches (
    batch_start timestamptz PRIMARY KEY,
    row_count bigint NOT NULL,
    closed_at timestamptz NOT NULL
);

COMMENT ON TABLE web.closed_batches IS
'A batch is complete once closed_at has come; row_count is the log''s own count.';

-- The views of a batch: a function of their number k (0, 1, …), the batch and the seed alone. Of a hundred, one has no
-- session, one a time before the batch, one occurs twice, and one has an untidy path that cleaning corrects; WEB in
-- simulation/batches.py must match.
CREATE OR REPLACE FUNCTION web.views_of(batch timestamptz, row_count integer, seed bigint)
RETURNS SETOF web.page_views
LANGUAGE sql STABLE
AS $$
WITH numbered AS (
    SELECT
        k % 100 AS slot,
        CASE WHEN k % 100 = 5 THEN k - 1 ELSE k END AS line_no
    FROM generate_series(0, row_count - 1) AS numbers (k)
),

drawn AS (
    SELECT
        slot,
        line_no,
        hashint8extended(line_no, ~hashint8extended(extract(EPOCH FROM batch)::bigint, seed)) AS dice
    FROM numbered
    OFFSET 0
),

views AS (
    SELECT
        *,
        (ARRAY['/', '/', '/shop', '/shop', '/shop/basket', '/checkout', '/help', '/about'])[1 + (dice & 7)] AS page
    FROM drawn
)

SELECT
    batch AS batch_start,
    extract(EPOCH FROM batch)::bigint / 21600 * 1048576 + line_no AS view_id,
    CASE WHEN slot <> 2 THEN 's' || lpad(to_hex(dice >> 8 & 1048575), 5, '0') END AS session_id,
    batch + make_interval(secs => (dice >> 28 & 65535) * 21600.0 / 65536)
    - CASE WHEN slot = 3 THEN '1 day'::interval ELSE '0'::interval END AS viewed_at,
    CASE WHEN slot = 6 THEN ' ' || upper(page) ELSE page END AS path,
    (ARRAY['phone', 'phone', 'desktop', 'tablet'])[1 + (dice >> 3 & 3)] AS device,
    (dice >> 44 & 255)::integer AS seconds_on_page
FROM views
$$;

-- Generate and close a batch in the caller's transaction; returns its number of rows, or null if it exists.
CREATE OR REPLACE FUNCTION web.generate_batch(
    batch timestamptz, row_count integer, seed bigint, closed_at timestamptz
) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    made bigint;
BEGIN
    -- Insert this row first: a concurrent call for the same batch waits for it, and readers block neither.
    INSERT INTO web.closed_batches VALUES (batch, 0, closed_at) ON CONFLICT DO NOTHING;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    INSERT INTO web.page_views SELECT * FROM web.views_of(batch, row_count, seed);
    GET DIAGNOSTICS made = ROW_COUNT;
    UPDATE web.closed_batches AS c SET row_count = made WHERE c.batch_start = batch;
    RETURN made;
END;
$$;

GRANT USAGE ON SCHEMA web TO web_reader;
GRANT SELECT ON web.page_views, web.closed_batches TO web_reader;
