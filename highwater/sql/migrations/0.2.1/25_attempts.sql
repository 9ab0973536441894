-- Failures are sorted by kinds of their own, no longer by the names of Python's classes.
WITH kinds (class, kind) AS (
    VALUES
    ('ConfigurationError', 'configuration'),
    ('WrongVersion', 'wrong version'),
    ('NotRegistered', 'not registered'),
    ('RefusedData', 'data rejected'),
    ('AuditFailed', 'audit failed'),
    ('Held', 'held'),
    ('IntegrityBroken', 'integrity broken'),
    ('NotReady', 'source incomplete'),
    ('NotOver', 'window not over'),
    ('SourceAway', 'source unavailable'),
    ('SourceMoved', 'source moved'),
    ('Unhealthy', 'unhealthy'),
    ('SourceSlow', 'source slow'),
    ('WarehouseAway', 'warehouse unavailable'),
    ('Busy', 'busy'),
    ('SourceBusy', 'source busy'),
    ('NoRoom', 'disk full')
),

attempts AS (
    UPDATE ops.attempts AS a SET error_kind = k.kind
    FROM kinds AS k
    WHERE a.error_kind = k.class
)

UPDATE ops.breakers AS b SET error_kind = k.kind
FROM kinds AS k
WHERE b.error_kind = k.class;

COMMENT ON COLUMN ops.attempts.error_kind IS 'What kind of failure it was: by it the trouble is sorted';
