-- One row a kind of incident: when it becomes urgent, and what to do about it.
CREATE TABLE control.incident_kinds (
    kind text PRIMARY KEY,
    escalate_after interval NOT NULL,
    needs_person boolean NOT NULL DEFAULT FALSE,
    advice text NOT NULL,
    is_trouble boolean NOT NULL DEFAULT TRUE,
    CONSTRAINT escalate_after_is_positive CHECK (extract(EPOCH FROM escalate_after) > 0),
    CONSTRAINT escalate_after_is_at_most_36600_days CHECK (control.is_usual_span(escalate_after))
);

COMMENT ON COLUMN control.incident_kinds.is_trouble IS 'FALSE: it is shown, and nobody is alerted of it';

COMMENT ON COLUMN control.incident_kinds.escalate_after IS 'Open for longer than this, people are told once more';
COMMENT ON COLUMN control.incident_kinds.needs_person IS 'It stays open until a person has acknowledged it';

CREATE TABLE ops.incidents (
    incident_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL REFERENCES control.incident_kinds,
    subject text NOT NULL,
    datasets text[] NOT NULL,
    since timestamptz NOT NULL,
    window_ranges tstzmultirange NOT NULL DEFAULT '{}',
    opened_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    escalated_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    note text,
    closed_at timestamptz
);

CREATE UNIQUE INDEX one_open_incident_of_a_kind ON ops.incidents (kind, subject) WHERE closed_at IS NULL;

COMMENT ON COLUMN ops.incidents.window_ranges IS 'Every window that it has had a part in so far';

-- The attempts that an incident collected.
CREATE TABLE ops.incident_attempts (
    incident_id bigint NOT NULL REFERENCES ops.incidents,
    attempt_id integer NOT NULL,
    PRIMARY KEY (incident_id, attempt_id)
);

-- What people are told, in the transaction that opens, escalates or closes: the outbox. Each event once, by the key.
CREATE TABLE ops.alerts (
    alert_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    incident_id bigint NOT NULL REFERENCES ops.incidents,
    event text NOT NULL CHECK (event IN ('opened', 'escalated', 'closed')),
    title text NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL,
    addressed boolean NOT NULL DEFAULT FALSE,
    UNIQUE (incident_id, event)
);

CREATE INDEX alerts_not_addressed ON ops.alerts (alert_no) WHERE NOT addressed;

COMMENT ON COLUMN ops.alerts.alert_id IS 'Stands in the message: who gets one twice can tell';
COMMENT ON COLUMN ops.alerts.addressed IS 'Its deliveries are made: one an address that was set at that time';

-- One row an alert and address, by a name made from it: an address is a secret.
CREATE TABLE ops.alert_deliveries (
    alert_no bigint NOT NULL REFERENCES ops.alerts,
    destination text NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'given up', 'withdrawn')),
    tries integer NOT NULL DEFAULT 0,
    last_error text,
    next_try_at timestamptz,
    sent_at timestamptz,
    PRIMARY KEY (alert_no, destination)
);

CREATE INDEX alert_deliveries_pending ON ops.alert_deliveries (alert_no) WHERE state = 'pending';

COMMENT ON COLUMN ops.alert_deliveries.state IS
'given up: refused too often; withdrawn: the address was taken out of HIGHWATER_ALERT_URLS';

CREATE INDEX attempts_in_trouble ON ops.attempts (dataset) WHERE state <> 'succeeded';
CREATE INDEX attempts_succeeded ON ops.attempts (dataset, stage, attempt_id) WHERE state = 'succeeded';
