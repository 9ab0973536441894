"""`highwater checkpoint` and what `highwater status` says of a dataset that is loaded by its changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from shopping import land, plan, rule, value

from highwater.environment import settings

Change = Callable[[str], int]


@pytest.fixture
def orders(small_shop: Change) -> Change:
    """Orders that have landed."""
    land()
    return small_shop


def highwater(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "highwater.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": str(settings.ROOT)},
        cwd="/",
        input=answer,
        capture_output=True,
        text=True,
        check=False,
    )


def test_show_prints_the_checkpoint_and_its_moves(orders: Change) -> None:
    orders("UPDATE shop.orders SET amount = 5 WHERE order_id <= 2")
    land("b")
    shown = highwater("checkpoint", "show").stdout
    assert "no committed change is missed" in shown
    first, second = [line for line in shown.splitlines() if "  by run " in line]
    assert "2  update to incremental +0 ~2 -0  by run b (loader): the checkpoint holds, and 2 rows" in first
    assert "1  insert to full +300 ~0 -0  by run a (loader): there is no checkpoint" in second


def test_show_for_a_program_is_json(orders: Change) -> None:
    answer = json.loads(highwater("checkpoint", "show", "orders", "--json").stdout)
    assert (answer["mode"], answer["live_rows"], answer["revision"], len(answer["moves"])) == ("full", 300, 1, 1)


def test_reset_asks_first_and_a_no_changes_nothing(orders: Change) -> None:
    asked = highwater("checkpoint", "reset", "orders", "--reason", "to see", answer="n\n")
    assert asked.returncode == 1
    assert "Reset it, so that the next run reads everything?" in asked.stdout
    assert value("SELECT revision FROM ops.checkpoints") == 1


@pytest.mark.parametrize(("options", "answer"), [((), "y\n"), (("--yes",), "")], ids=["asked", "not asked"])
def test_reset_records_who_and_why_and_leads_to_a_full_run(
    orders: Change, options: tuple[str, ...], answer: str
) -> None:
    done = highwater(
        "checkpoint", "reset", "orders", "--reason", "the shop moved", "--by", "ada", *options, answer=answer
    )
    assert done.returncode == 0
    assert value("SELECT updated_by || ': ' || reason FROM ops.checkpoints") == "ada: the shop moved"
    assert value("SELECT state ->> 'reason' FROM ops.checkpoint_history WHERE revision = 2") == "the shop moved"
    assert (plan().mode, plan().reason) == ("full", "the checkpoint was reset by ada: the shop moved")
    assert "checkpoint reset by ada: the shop moved; the next run is full" in highwater("status").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("show", "daily_sales"),
            "'daily_sales' is not a dataset that is loaded by its changes: expected one of ",
        ),
        (
            ("reset", "nothing", "--reason", "x", "--yes"),
            "dataset 'nothing' has no row in control.datasets; known: channel_sales",
        ),
        (("reset", "orders", "--reason", " ", "--yes"), 'reason " " is blank'),
        (("reset", "orders", "--yes"), "option --reason is missing"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_two(orders: Change, arguments: tuple[str, ...], said: str) -> None:
    refused = highwater("checkpoint", *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert value("SELECT revision FROM ops.checkpoints") == 1


def test_status_shows_checkpoint_lag_and_mode_and_the_weaker_promise_of_updated_at(orders: Change) -> None:
    shown = highwater("status").stdout
    assert "36 of 36 due windows landed" not in shown
    assert "checkpoint 2026-10-31T12:00:00, 0:00:00 ago · last run full, because there is no checkpoint" in shown
    assert "read by xid: no committed change is missed" in shown
    rule("strategy = 'updated_at'")
    promise = "read by updated_at: deletions, and changes that commit more than 00:15:00 after they say, are missed"
    assert promise in highwater("status").stdout
    (dataset,) = [d for d in json.loads(highwater("status", "--json").stdout)["datasets"] if d["dataset"] == "orders"]
    assert dataset["checkpoint"]["strategy"] == "updated_at"


def test_status_says_so_where_there_is_no_checkpoint_yet(small_shop: Change) -> None:
    assert "no checkpoint yet" in highwater("status").stdout


@pytest.mark.parametrize("options", [(), ("--yes",)], ids=["asked", "not asked"])
def test_what_cannot_be_reset_is_refused_before_anyone_is_asked(small_shop: Change, options: tuple[str, ...]) -> None:
    refused = highwater("checkpoint", "reset", "orders", "--reason", "why", *options)
    assert refused.returncode == 2
    assert 'dataset "orders" has no checkpoint to reset: its next run reads everything anyway' in refused.stderr
    assert "Reset it" not in refused.stdout
