-- The lock of a start: the session that has locked the row is at work. Run as the admin in the warehouse, who alone
-- may.
CREATE TABLE IF NOT EXISTS setup.turn (only_row boolean PRIMARY KEY DEFAULT TRUE CHECK (only_row));

INSERT INTO setup.turn DEFAULT VALUES ON CONFLICT DO NOTHING;
