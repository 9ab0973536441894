"""What may be asked for is one rule, whichever way it comes; and a request that Airflow does not start is seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from loading import day
from typer.testing import CliRunner

from highwater.backfill import options, requests
from highwater.backfill.requests import Request
from highwater.cli.main import app
from highwater.environment import settings
from highwater.incidents import alerts
from highwater.model.errors import ConfigurationError
from highwater.store import reasons, warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")

WANTED = Request("daily_sales", day("2026-10-01").start, day("2026-10-03").start, reason="to see", requested_by="ada")


def taken(**changed: Any) -> int:
    """The number of the backfill that the warehouse takes; it refuses by raising."""
    with warehouse.session("operator") as cursor:
        return requests.request(cursor, Request(**(vars(WANTED) | changed)))


def conf(number: int) -> dict[str, Any]:
    with warehouse.session("analyst") as cursor:
        return requests.conf_of(cursor, number)[1]


def note(number: int) -> str:
    with warehouse.session("analyst") as cursor:
        return str(requests.progress(cursor, number)["note"])


@pytest.mark.parametrize("words", ["t", " t ", "ü", "two\nlines", "x" * 500, '"; --'])
def test_a_reason_that_the_warehouse_takes_passes_the_form_that_starts_the_run(airflow: Any, words: str) -> None:
    from airflow.sdk.definitions.param import ParamsDict

    from highwater.backfill import form

    number = taken(reason=words)
    assert ParamsDict(form.params() | conf(number)).validate()["reason"] == words.strip()
    assert reasons.said("reason", words) == words.strip()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", 'reason "" is blank: expected words that others understand later'),
        (" \n\t", "is blank: expected words"),
        ("x" * 501, f'reason "{"x" * 40}…" has 501 characters: expected at most 500'),
    ],
)
def test_one_rule_refuses_a_reason_by_every_way_in(words: str, said: str) -> None:
    ways: dict[str, list[str]] = {
        "backfill": ["backfill", "run", "daily_sales", "--from", "2026-10-01", "--to", "2026-10-02", "--yes"],
        "rollback": ["rollback", "daily_sales", "2026-10-01", "--yes"],
        "accept": ["accept", "daily_sales", "2026-10-01", "--yes"],
        "checkpoint": ["checkpoint", "reset", "orders", "--yes"],
        "policy": ["policy", "set", "daily_sales", "--disabled"],
        "recovery": ["recovery", "request", "daily_sales", "--yes"],
    }
    for way in ways.values():
        done = CliRunner().invoke(app, [*way, "--reason", words])
        assert isinstance(done.exception, ConfigurationError), (way, done.output)
        assert said in str(done.exception)
    with pytest.raises(ConfigurationError) as refused:
        taken(reason=words)
    assert said in str(refused.value)
    for statement in (
        "SELECT ops.rollback_window('daily_sales', '[2026-10-01,2026-10-02)', 'ada', %s)",
        "SELECT ops.accept_shrink('daily_sales', '[2026-10-01,2026-10-02)', 'ada', %s)",
        "SELECT ops.reset_checkpoint('orders', 'ada', %s)",
        "SELECT ops.acknowledge_incident(1, 'ada', %s)",
    ):
        with pytest.raises(psycopg2.Error) as raised, warehouse.session("operator") as cursor:
            cursor.execute(statement, (words,))
        assert said.removeprefix("reason") in str(raised.value)


@pytest.mark.parametrize("field", options.CHOICES)
def test_the_form_offers_what_the_warehouse_takes_and_says_it_may_be(airflow: Any, field: str) -> None:
    from highwater.backfill import form

    assert form.params()[field].schema["enum"] == options.CHOICES[field].values
    with pytest.raises(ConfigurationError) as refused:
        taken(**{field: "perhaps"})
    valid = str(refused.value).split(": expected ")[1].replace(" or ", ", ")
    assert set(valid.split(", ")) == set(options.CHOICES[field].values)


@pytest.mark.parametrize("many", [0, options.MAX_ACTIVE.most + 1])
def test_form_page_and_warehouse_take_as_many_at_once(airflow: Any, many: int) -> None:
    from pydantic import ValidationError

    from highwater.backfill import form
    from highwater.page.backfills import BackfillForm

    with pytest.raises(ConfigurationError, match=f"invalid max_active {many}: expected 1 to {options.MAX_ACTIVE.most}"):
        taken(max_active=many)
    with pytest.raises(ValidationError):
        BackfillForm.model_validate({"max_active": many})
    schema = form.params()["max_active"].schema
    assert not schema["minimum"] <= many <= schema["maximum"]


class TestWhatAirflowDoesNotStart:
    def test_it_becomes_an_incident_after_ten_minutes_until_a_run_begins_it(
        self, later: Callable[[timedelta], None]
    ) -> None:
        number = taken()
        later(timedelta(minutes=9))
        alerts.look()
        assert not opened()
        later(timedelta(minutes=11))
        alerts.look()
        title = f"backfill {number} of daily_sales: backfill not started since 2026-10-31 12:00 UTC"
        assert opened() == [title]
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT control.begin_backfill(%s, 'a run')", (number,))
        alerts.look()
        assert not opened()

    def test_one_that_is_taken_back_does_not_count(self, later: Callable[[timedelta], None]) -> None:
        number = taken()
        later(timedelta(minutes=11))
        alerts.look()
        assert len(opened()) == 1
        with warehouse.session("operator") as cursor:
            requests.change(cursor, "cancel", number, "ada")
        alerts.look()
        assert not opened()

    def test_what_airflow_says_is_shown_beside_it_until_it_begins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HIGHWATER_UI_PORT", "1")
        settings.get.cache_clear()
        words = ["--from", "2026-10-01", "--to", "2026-10-02", "--reason", "t", "--yes"]
        done = CliRunner().invoke(app, ["backfill", "run", "daily_sales", *words], catch_exceptions=False)
        assert "catchup_control will start it within five minutes (Airflow at" in done.output
        with warehouse.session("analyst") as cursor:
            (latest,) = requests.latest(cursor, 1)
        assert latest["note"].startswith("not started: Airflow at http://127.0.0.1:1 does not answer: nothing listens")
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT control.begin_backfill(%s, 'a run')", (latest["backfill_id"],))
        assert note(latest["backfill_id"]) == "None"
        settings.get.cache_clear()


def opened() -> list[str]:
    with warehouse.session("analyst") as cursor:
        return [each.title for each in alerts.open_incidents(cursor) if "backfill" in each.title]
