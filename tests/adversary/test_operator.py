"""An operator says what is wanted. Each change of it is kept with who made it; nothing else is theirs to change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attacks import act, refused

pytestmark = pytest.mark.usefixtures("platform")

LATEST = (
    "SELECT what, dataset, changed_by, old, new FROM control.catchup_policy_history ORDER BY change_id DESC LIMIT 1"
)


@pytest.fixture
def rules() -> Iterator[None]:
    """What the rules were, and their history, are so again."""
    kept = {}
    for table in ("sources", "conditions", "catchup_policies", "datasets", "incident_kinds"):
        kept[table] = act("postgres", f"SELECT to_jsonb(t)::text AS row FROM control.{table} AS t")
    yield
    for table, key in (("sources", "dataset"), ("catchup_policies", "dataset"), ("incident_kinds", "kind")):
        for (row,) in kept[table]:
            columns = act(
                "postgres",
                "SELECT string_agg(format('%%I = r.%%I', attname, attname), ', ') AS all FROM pg_attribute"
                " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
                (f"control.{table}",),
            )[0][0]
            act(
                "postgres",
                f"UPDATE control.{table} AS t SET {columns} FROM jsonb_populate_record(NULL::control.{table}, %s) AS r"
                f" WHERE t.{key} = r.{key}",
                (row,),
            )
    act("postgres", "DELETE FROM control.known_sources WHERE source = 'mine'")
    act("postgres", "TRUNCATE control.catchup_policy_history")


@pytest.mark.usefixtures("rules")
class TestHistory:
    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("on_mass_delete", "accept"),
            ("max_deleted_share", 0.9),
            ("strategy", "updated_at"),
            ("overlap", "01:00:00"),
            ("reconcile_every", "72:00:00"),
            ("max_changes", 5),
            ("on_replaced_source", "stop"),
            ("on_changed_schema", "stop"),
            ("on_large_change_set", "accept"),
            ("keys_per_bucket", 7),
            ("buckets_per_check", 9),
            ("catch_up", "none"),
            ("reliability_threshold", 0.1),
            ("statement_timeout", "00:10:00"),
            ("full_run_wanted", "the shop was repaired"),
        ],
    )
    def test_a_rule_of_a_source_has_one(self, column: str, value: object) -> None:
        act(
            "operator",
            f"SET highwater.by = 'kim'; UPDATE control.sources SET {column} = %s WHERE dataset = 'orders'",
            (value,),
        )
        (change,) = act("analyst", LATEST)
        assert (change.what, change.dataset, change.changed_by) == ("source rule", "orders", "operator (kim)")
        assert {name for name in change.new if change.new[name] != change.old[name]} == {column}
        assert change.new[column] == value

    def test_a_source_that_comes_and_goes_has_one(self) -> None:
        act("operator", "INSERT INTO control.known_sources VALUES ('mine', 'what is mine')")
        assert tuple(act("analyst", LATEST)[0])[2:] == ("operator", None, {"mine": {"holds": "what is mine"}})
        act("operator", "DELETE FROM control.known_sources WHERE source = 'mine'")
        assert tuple(act("analyst", LATEST)[0])[2:] == ("operator", {"mine": {"holds": "what is mine"}}, None)

    def test_a_setting_of_a_condition_has_one(self) -> None:
        act("postgres", "SET ROLE publisher; INSERT INTO control.conditions VALUES ('mine', 'tried', '1 min')")
        act("operator", "UPDATE control.conditions SET settle = '2 min' WHERE condition = 'mine'")
        (change,) = act("analyst", LATEST)
        assert (change.what, change.new["mine"]["settle"]) == ("condition rule", "00:02:00")
        act("postgres", "DELETE FROM control.conditions WHERE condition = 'mine'")

    @pytest.mark.parametrize(
        ("statement", "what"),
        [
            ("UPDATE control.datasets SET due_after = due_after + '1 hour' WHERE dataset = 'orders'", "dataset"),
            ("UPDATE control.platform SET keep_versions_days = keep_versions_days + 1", "platform"),
            ("UPDATE control.incident_kinds SET escalate_after = '1 min' WHERE kind = 'data lost'", "incident kind"),
        ],
    )
    def test_what_only_the_admin_changes_has_one_too(self, statement: str, what: str) -> None:
        act("postgres", statement)
        assert tuple(act("analyst", LATEST)[0])[::2][:2] == (what, "postgres")
        act("postgres", statement.replace("+", "-"))

    def test_it_cannot_be_rewritten(self) -> None:
        refused("operator", "DELETE FROM control.catchup_policy_history")
        refused("operator", "UPDATE control.catchup_policy_history SET changed_by = 'kim'")
        refused("operator", "INSERT INTO control.catchup_policy_history (what, changed_at, changed_by)"
                            " VALUES ('policy', now(), 'kim')")  # fmt: skip
        refused("operator", "ALTER TABLE control.sources DISABLE TRIGGER ALL")
        refused("operator", "SET session_replication_role = replica")
        refused("operator", "TRUNCATE control.closed_days")

    def test_a_policy_says_who_changed_it_and_stays_with_its_dataset(self) -> None:
        for column in ("changed_by = 'kim'", "changed_at = '2020-01-01'", "dataset = 'orders'"):
            refused("operator", f"UPDATE control.catchup_policies SET {column} WHERE dataset = 'daily_sales'")
        act("operator", "UPDATE control.catchup_policies SET max_windows = 7 WHERE dataset = 'daily_sales'")
        assert tuple(act("analyst", LATEST)[0])[:3] == ("policy", "daily_sales", "operator")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT ops.start_attempt('daily_sales', '[2026-10-05,2026-10-06)', 'load', 'x', 'y', 1, 'h', 1)",
        "SELECT ops.take_lease('outbox')",
        "SELECT ops.prune_versions()",
        "SELECT ops.record_health_check('a', 'well', '', 1, 'r')",
        "SELECT control.begin_backfill(1, 'r')",
        "UPDATE control.datasets SET first_window = '2020-01-01'",
        "UPDATE control.platform SET anchor = '2020-01-01'",
        "UPDATE control.backfills SET state = 'done'",
        "UPDATE control.conditions SET description = 'x'",
        "CREATE TABLE control.mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "SET ROLE publisher",
        "SET ROLE loader",
        "GRANT operator TO analyst",
        "ALTER ROLE analyst SET statement_timeout = '1ms'",
        "ALTER DATABASE warehouse SET search_path = public",
    ],
)
def test_what_is_not_wanted_but_happens_is_not_theirs(statement: str) -> None:
    refused("operator", statement)
