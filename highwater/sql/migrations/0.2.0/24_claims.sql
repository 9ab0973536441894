-- One row a kind of work that is done by one transaction at a time. Only functions of the owner reach it.
CREATE TABLE ops.turns (turn text PRIMARY KEY);

-- One row a kind of work that one session does at a time: it has the lease for as long as its claim lives.
CREATE TABLE ops.leases (
    lease text PRIMARY KEY,
    claim integer NOT NULL,
    backend_pid integer NOT NULL
);
