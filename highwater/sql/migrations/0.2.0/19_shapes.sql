-- One row a list of columns, in the order they are hashed in.
CREATE TABLE ops.shapes (
    shape_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hashed_columns text[] NOT NULL,
    is_linear boolean NOT NULL DEFAULT FALSE,
    UNIQUE (hashed_columns, is_linear)
);

COMMENT ON TABLE ops.shapes IS 'How a content hash was taken: over which columns, in order';
COMMENT ON COLUMN ops.shapes.is_linear IS
'As release 0.1 took it: a sum of hashes of values, which can stay the same where two rows have exchanged theirs';
