-- The turn of a start: whoever has locked the row is at work. Run as the admin in the warehouse; nobody else gets in.
CREATE TABLE IF NOT EXISTS setup.turn (only_row boolean PRIMARY KEY DEFAULT TRUE CHECK (only_row));

INSERT INTO setup.turn DEFAULT VALUES ON CONFLICT DO NOTHING;
