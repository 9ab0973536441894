-- What the rows of former tables need before new tables can take them. The former schemas are set aside by now, as
-- aside_control, aside_ops and aside_quarantine; of their tables some may be missing, and columns of others.

-- Sources once had no names: there was one. Then their names were a list in a rule, to which somebody may have added.
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

-- Keys were once joined by commas; no key had more than one column then. The rule says that it is done.
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

-- Attempts once did not say which process they were.
ALTER TABLE IF EXISTS aside_ops.attempts
ADD COLUMN IF NOT EXISTS host text NOT NULL DEFAULT 'unknown',
ADD COLUMN IF NOT EXISTS pid integer NOT NULL DEFAULT 0;
