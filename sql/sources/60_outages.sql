-- Outages started on request, in addition to those of the partner's schedule. Grain: one outage of one source.
-- Run as simulator in the database of the sources; idempotent.

CREATE SCHEMA IF NOT EXISTS simulation;

CREATE TABLE IF NOT EXISTS simulation.outages (
    outage_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL CONSTRAINT outages_source_is_known REFERENCES gate.readers (source),
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT 'infinity',
    reason text NOT NULL,
    started_by text NOT NULL,
    stopped_by text,
    CHECK (started_at <= ended_at)
);
COMMENT ON COLUMN simulation.outages.ended_at IS 'When it ends; infinity until it is stopped';

-- All outages, requested or scheduled.
CREATE OR REPLACE VIEW simulation.all_outages AS
SELECT
    source,
    started_at,
    ended_at,
    reason,
    started_by,
    stopped_by
FROM simulation.outages
UNION ALL
SELECT
    'partner' AS source,
    started_at,
    ended_at,
    reason,
    'the schedule' AS started_by,
    stopped_by
FROM partner.outages;
