-- One row a named predicate in sql/catchup_control/conditions/; bootstrap writes down which there are.
CREATE TABLE control.conditions (
    condition text PRIMARY KEY,
    description text NOT NULL,
    settle interval NOT NULL DEFAULT '10 minutes',
    CONSTRAINT condition_is_a_short_lower_case_name CHECK (condition ~ '^[a-z][a-z0-9_]{0,39}$'),
    CONSTRAINT settle_is_not_negative CHECK (extract(EPOCH FROM settle) >= 0),
    CONSTRAINT settle_is_at_most_36600_days CHECK (control.is_usual_span(settle))
);

COMMENT ON COLUMN control.conditions.settle IS 'So long it must have answered otherwise before catch-up is switched';

-- One row a dataset.
CREATE TABLE control.catchup_policies (
    dataset text PRIMARY KEY REFERENCES control.datasets ON DELETE CASCADE,
    enabled boolean NOT NULL DEFAULT TRUE,
    max_age interval,
    max_windows integer,
    skip_weekdays smallint[] NOT NULL DEFAULT '{}',
    skip_closed_days boolean NOT NULL DEFAULT TRUE,
    conditions text[] NOT NULL DEFAULT '{}',
    changed_by text,
    changed_at timestamptz,
    reason text,
    CONSTRAINT max_age_is_positive CHECK (extract(EPOCH FROM max_age) > 0),
    CONSTRAINT max_age_is_no_month CHECK (extract(YEAR FROM max_age) = 0 AND extract(MONTH FROM max_age) = 0),
    CONSTRAINT max_windows_is_positive CHECK (max_windows > 0),
    CONSTRAINT skip_weekdays_are_1_monday_to_7_sunday CHECK (skip_weekdays <@ '{1,2,3,4,5,6,7}'::smallint[]),
    CONSTRAINT skip_weekdays_leave_one CHECK (NOT skip_weekdays @> '{1,2,3,4,5,6,7}'::smallint[]),
    CONSTRAINT max_age_is_at_most_36600_days CHECK (control.is_usual_span(max_age)),
    CONSTRAINT skip_weekdays_is_a_list CHECK (coalesce(array_ndims(skip_weekdays), 1) = 1),
    CONSTRAINT conditions_have_names CHECK (array_position(conditions, NULL) IS NULL)
);

COMMENT ON COLUMN control.catchup_policies.enabled IS
'Whether missing windows are loaded by themselves; while it is off only the newest due window is';
COMMENT ON COLUMN control.catchup_policies.max_age IS 'A window that ended longer ago than this is not wanted';
COMMENT ON COLUMN control.catchup_policies.max_windows IS 'Only so many of the newest due windows are wanted';
COMMENT ON COLUMN control.catchup_policies.skip_weekdays IS
'ISO, 1 is Monday: a window that touches no other day is not wanted; days are of UTC';
COMMENT ON COLUMN control.catchup_policies.conditions IS 'Catch-up is on only while each of these holds';

-- One row a day on which nothing is to be had of a dataset; of every dataset where it is null.
CREATE TABLE control.closed_days (
    day date NOT NULL,
    dataset text REFERENCES control.datasets ON DELETE CASCADE,
    reason text NOT NULL,
    CONSTRAINT reason_says_something CHECK (reason ~ '\S'),
    CONSTRAINT day_is_between_1900_and_2999 CHECK (control.is_usual_day(day))
);

CREATE UNIQUE INDEX a_day_is_closed_once ON control.closed_days (day, coalesce(dataset, ''));

-- One row a change of what is wanted, whoever made it and by which way.
CREATE TABLE control.catchup_policy_history (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what text NOT NULL,
    dataset text,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL,
    old jsonb,
    new jsonb,
    reason text,
    announced_at timestamptz,
    CONSTRAINT what_is_known CHECK (
        what IN (
            'policy', 'closed day', 'source rule', 'condition', 'condition rule', 'dataset', 'platform', 'known source',
            'incident kind'
        )
    )
);

CREATE INDEX policy_history_not_announced ON control.catchup_policy_history (change_id)
WHERE announced_at IS NULL;

COMMENT ON COLUMN control.catchup_policy_history.changed_by IS
'The login, and who used it if they said so by SET highwater.by';

-- One row a condition of a policy: what it answered last, and what follows.
CREATE TABLE control.condition_states (
    condition text NOT NULL REFERENCES control.conditions ON DELETE CASCADE,
    dataset text NOT NULL REFERENCES control.datasets ON DELETE CASCADE,
    holds boolean NOT NULL,
    since timestamptz NOT NULL,
    answered boolean,
    answered_since timestamptz,
    checked_at timestamptz,
    error text,
    error_since timestamptz,
    PRIMARY KEY (condition, dataset)
);

COMMENT ON COLUMN control.condition_states.holds IS 'What counts: the answer, once it has stood for the settling time';
COMMENT ON COLUMN control.condition_states.error IS 'The last look failed; what counted before still counts';
