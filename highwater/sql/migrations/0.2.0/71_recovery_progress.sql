-- One row per recovery that is over: what it had come to when it closed.
CREATE TABLE ops.recovery_results (
    incident_id bigint PRIMARY KEY REFERENCES ops.incidents ON DELETE CASCADE,
    critical_done bigint NOT NULL,
    critical_total bigint NOT NULL,
    non_critical_done bigint NOT NULL,
    non_critical_total bigint NOT NULL,
    lost bigint NOT NULL,
    windows_per_minute numeric,
    attempts bigint NOT NULL,
    failures bigint NOT NULL
);

COMMENT ON TABLE ops.recovery_results IS
'What a recovery had come to when it closed: written down in the transaction that closed it, and not counted again';
