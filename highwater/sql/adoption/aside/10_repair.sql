-- Repairs the rows of former tables so that the new tables accept them. The former schemas have been renamed to
-- aside_control, aside_ops and aside_quarantine; some of their tables or columns may be missing.

-- Sources had no names while there was only one. Later their names were a list in a CHECK, which users may have
-- extended.
DO $$
BEGIN
    IF to_regclass('aside_control.sources') IS NOT NULL THEN
        ALTER TABLE aside_control.sources ADD COLUMN IF NOT EXISTS source text;
        UPDATE aside_control.sources SET source = 'shop' WHERE dataset = 'orders' AND source IS NULL;
        CREATE TABLE IF NOT EXISTS aside_control.known_sources (source text, holds text);
        INSERT INTO aside_control.known_sources (source, holds)
        SELECT
            s.source,
            'the dataset ' || s.dataset
        FROM aside_control.sources AS s
        WHERE s.source IS NOT NULL AND s.source NOT IN (SELECT k.source FROM aside_control.known_sources AS k);
    END IF;
END;
$$;

-- Keys were plain text, each of one column, before they became JSON arrays; the constraint exists where they are
-- arrays.
DO $$
BEGIN
    IF to_regclass('aside_quarantine.refused_keys') IS NOT NULL AND NOT EXISTS (
        SELECT FROM pg_constraint AS c
        WHERE c.conrelid = to_regclass('aside_quarantine.refused_keys') AND c.conname = 'key_is_an_array'
    ) THEN
        UPDATE aside_quarantine.refused_keys SET key = jsonb_build_array(key)::text;
    END IF;
END;
$$;

-- Attempts did not record their process.
ALTER TABLE IF EXISTS aside_ops.attempts
ADD COLUMN IF NOT EXISTS host text NOT NULL DEFAULT 'unknown',
ADD COLUMN IF NOT EXISTS pid integer NOT NULL DEFAULT 0;
