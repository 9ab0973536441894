-- One row a subject of which a process that goes by the policies could not read what is wanted: a dataset, or a file.
CREATE TABLE ops.unread_policies (
    subject text PRIMARY KEY,
    problem text NOT NULL,
    since timestamptz NOT NULL,
    CONSTRAINT names_are_short CHECK (control.are_names(subject))
);
