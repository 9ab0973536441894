"""A run that is killed after it has published: another writes its summary, clears its staging, ends its incident."""

from __future__ import annotations

from contextlib import closing

import batches
import pytest
from waiting import wait_until

from highwater.incidents import alerts
from highwater.loading import stages, staging
from highwater.store import ledger, publish, warehouse
from highwater.store.ledger import Run

pytestmark = pytest.mark.usefixtures("empty_warehouse")
WINDOW, RUN = batches.window(0), Run("test", "run a")
OPEN = "SELECT count(*) FROM ops.incidents WHERE kind = 'load failed' AND closed_at IS NULL"
LEFT = "SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'"
SUMMARIES = "SELECT count(*) FROM ops.processing_summary WHERE run_id = 'run a' AND version = 1"
LIVE = "SELECT count(*) FROM ops.live_attempts"


def value(query: str) -> int:
    with warehouse.session("analyst") as cursor:
        cursor.execute(query)
        return int(warehouse.fetch_value(cursor))


@pytest.mark.parametrize("stage", ["load", "summarise"])
def test_what_a_killed_run_left_undone_is_done_once_and_its_incident_closes(stage: str) -> None:
    publish.publish_window("payments", WINDOW, batches.stage("payments", WINDOW), RUN)
    with warehouse.session("loader") as cursor:
        staging.new_table(cursor, staging.new_set(cursor, "payments", WINDOW, RUN), "raw", [("one", "integer")])
    with closing(warehouse.connect("loader")) as link, link.cursor() as cursor:
        link.autocommit = True
        cursor.execute(
            "SELECT ops.start_attempt('payments', %s, %s, 'test', 'run a', 1, 'here', 1)",
            (ledger.as_range(WINDOW), stage),
        )
        assert stages.finish_cut_short() == 0, "it is still at work"
    wait_until("its claim to end", lambda: value(LIVE) == 0, seconds=30)
    alerts.look()
    assert (value(OPEN), value(LEFT), value(SUMMARIES)) == (1, 1, 0)
    assert stages.finish_cut_short("payments", batches.window(1)) == 0
    assert stages.finish_cut_short() == 1
    alerts.look()
    assert (value(OPEN), value(LEFT), value(SUMMARIES)) == (0, 0, 1)
    assert stages.finish_cut_short() == 0
