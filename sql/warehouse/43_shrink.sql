ALTER TABLE control.datasets
ADD COLUMN IF NOT EXISTS on_shrink text;
ALTER TABLE control.datasets ALTER COLUMN on_shrink SET DEFAULT 'stop';
UPDATE control.datasets SET on_shrink = 'stop' WHERE on_shrink IS NULL;
ALTER TABLE control.datasets
ADD COLUMN IF NOT EXISTS max_shrink numeric;
ALTER TABLE control.datasets ALTER COLUMN max_shrink SET DEFAULT 0.5;
UPDATE control.datasets SET max_shrink = 0.5 WHERE max_shrink IS NULL;
CREATE TABLE IF NOT EXISTS control.accepted_reloads (
    dataset text NOT NULL, window_range tstzrange NOT NULL, accepted_by text, login text, reason text,
    accepted_at timestamptz, used_by_run text, used_at timestamptz
);
