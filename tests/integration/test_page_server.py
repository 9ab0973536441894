"""The page before a real API server: who is let in, what is shown, what is done, what bad input gets."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import loading
import pytest
from page_server import PageServer, page_server
from psycopg2.extensions import cursor as Cursor
from rows import named

from highwater.incidents import alerts
from highwater.loading import source_checks
from highwater.loading.source_checks import Check
from highwater.store import holds, ledger, warehouse
from highwater.store.status import STATES

WINDOW = "/windows/daily_sales/2026-10-05"
FAILED = "/windows/daily_sales/2026-10-06"
VIEWS = (
    "/",
    "/calendar",
    "/calendar.json",
    "/now",
    "/now.json",
    "/days/payments/2026-10-29",
    "/days/payments/2026-10-29.json",
    WINDOW,
    f"{WINDOW}.json",
    "/backfills/new",
    "/static/page.css",
    "/static/icon.svg",
)
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def server(platform: Path) -> Iterator[PageServer]:
    with page_server() as running:
        yield running


@pytest.fixture(scope="module")
def admin_client(server: PageServer) -> Iterator[httpx.Client]:
    with server.client("admin") as client:
        yield client


@pytest.fixture(scope="module")
def vera(server: PageServer) -> Iterator[httpx.Client]:
    with server.client("vera") as client:
        yield client


@pytest.fixture
def ledger_of_two(empty_warehouse: None) -> None:
    """Two days: one has landed, the other failed with an error that holds markup."""
    loading.land(loading.day("2026-10-05"))
    with (
        pytest.raises(ZeroDivisionError),
        ledger.attempt("daily_sales", loading.day("2026-10-06"), "audit", loading.run("b")),
    ):
        raise ZeroDivisionError(SCRIPT)


def form_of(client: httpx.Client, path: str) -> dict[str, str]:
    """What the browser would send of the last form of a page that posts."""
    text = client.get(path).raise_for_status().text
    form = text[text.rindex('method="post"') :].split("</form>")[0]
    return {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form)}


def counted(client: httpx.Client, kind: str) -> int:
    """How many cells of daily_sales are in that state, as the calendar's JSON tells."""
    cells = client.get("/calendar.json", params={"days": 60}).json()["datasets"]["daily_sales"]
    return sum(cell["state"] == kind for cell in cells)


def highwater(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as a person types it."""
    command = [sys.executable, "-m", "highwater.cli.main", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def highwater_json(*arguments: str) -> dict[str, Any]:
    """What a command says to a program."""
    answer: dict[str, Any] = json.loads(highwater(*arguments, "--json").stdout)
    return answer


def roll_back(day: str) -> None:
    """Put the version before the last back, as ada."""
    highwater("rollback", "daily_sales", day, "--yes", "--by", "ada", "--reason", "the till was set wrong")


def words_of(text: str, name: str) -> str:
    """What the first paragraph of a class says."""
    (_, part) = text.split(f'class="{name}">', 1)
    return html.unescape(re.sub("<[^>]+>", "", part.split("</p>")[0]))


def sentence(of: Mapping[str, int]) -> str:
    """The due windows by their states, as page and command say it."""
    said = [f"{of[state]:,} {state}" for state in STATES if state != "landed" and of[state]]
    return " · ".join([f"{of['landed']:,} of {of['due']:,} due windows landed", *said])


class TestLogin:
    @pytest.mark.parametrize("path", [*VIEWS, "/nowhere", "/backfills/1", "/backfills/1.json", "/backfills/1/cancel"])
    def test_a_request_without_a_login_is_refused(self, server: PageServer, path: str) -> None:
        with server.client(None) as nobody:
            answer = nobody.get(path)
        assert answer.status_code == 401
        assert not re.search("published|missing|landed", answer.text)
        assert "default-src 'none'" in answer.headers["content-security-policy"]

    def test_every_route_of_the_app_is_among_those_tried(self) -> None:
        listed = subprocess.run(
            [
                sys.executable,
                "-c",
                "from highwater.page.app import make_app\nfor r in make_app().routes: print(r.path)",
            ],
            capture_output=True,
            text=True,
            check=True,
            env=_airflow_environment(),
        ).stdout.splitlines()
        listed = [line for line in listed if line.startswith("/")]
        tried = {re.sub(r"(?<=/)(payments|daily_sales|20[\d-]+|[\w-]+\.(css|svg))", "*", path) for path in VIEWS}
        tried |= {
            "/backfills/*",
            "/backfills/*.json",
            "/backfills",
            "/backfills/*/*",
            "/backfills/*/cancel",
            "/incidents/*/acknowledge",
            "/*",
        }
        assert {re.sub(r"\{[^}]+\}", "*", path) for path in listed} == tried

    @pytest.mark.parametrize("path", ["/backfills", "/backfills/1/cancel", "/incidents/1/acknowledge"])
    def test_an_act_without_a_login_is_refused(self, server: PageServer, path: str) -> None:
        with server.client(None) as nobody:
            assert nobody.post(path, data={"note": "x", "why": "x"}).status_code == 401

    def test_a_forged_login_is_refused(self, server: PageServer) -> None:
        with httpx.Client(base_url=f"{server.address}/highwater", cookies={"_token": "eyJ.x.y"}, timeout=60) as forger:
            assert forger.get("/").status_code in (401, 403)

    def test_who_is_not_logged_in_is_shown_where_to(self, server: PageServer) -> None:
        with server.client(None) as nobody:
            assert "/auth/login" in nobody.get("/").text

    def test_airflow_shows_it_in_its_navigation_and_as_a_tab_of_a_dag(self, server: PageServer) -> None:
        bearer = {"Authorization": f"Bearer {server.token('admin')}"}
        plugins = httpx.get(f"{server.address}/api/v2/plugins", headers=bearer, timeout=60).json()["plugins"]
        (ours,) = [plugin for plugin in plugins if plugin["name"] == "highwater"]
        assert [(view["destination"], view["href"]) for view in ours["external_views"]] == [
            ("nav", "/highwater/"),
            ("dag", "/highwater/?dag_id={DAG_ID}"),
        ]

    def test_other_processes_of_airflow_do_not_load_the_page_with_the_plugin(self) -> None:
        seen = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys, highwater.airflow.plugin; print('highwater.page.app' in sys.modules,"
                " 'fastapi' in sys.modules)",
            ],
            capture_output=True,
            text=True,
            check=True,
            env=_airflow_environment(),
        )
        assert seen.stdout.split() == ["False", "False"]


class TestShown:
    pytestmark = pytest.mark.usefixtures("ledger_of_two")

    def test_the_calendar_says_what_window_status_says(self, admin_client: httpx.Client, analyst: Cursor) -> None:
        analyst.execute(
            "SELECT dataset, window_start, state, rows_published FROM ops.window_status WHERE dataset = 'daily_sales'"
        )
        expected = {row.window_start.isoformat(): (row.state, row.rows_published) for row in named(analyst)}
        cells = admin_client.get("/calendar.json", params={"days": 60}).json()["datasets"]["daily_sales"]
        assert {cell["cell_start"]: (cell["state"], cell["rows_published"]) for cell in cells} == expected
        assert {"landed", "failed", "missing"} <= {state for state, _ in expected.values()}

    @pytest.mark.parametrize("shown", [{"days": 7}, {"days": 30}, {"days": 365}, {"days": 31, "hours": 1}])
    def test_every_number_of_windows_is_the_one_of_status(
        self, admin_client: httpx.Client, source_day: Callable[[str], int], shown: dict[str, int]
    ) -> None:
        source_day(loading.OTHER_QUANTITY)
        loading.land(loading.day("2026-10-05"), "b")
        loading.land(loading.day("2026-10-07"), "b")
        roll_back("2026-10-05")
        said = highwater_json("status")["datasets"]
        printed = {of["dataset"]: {kind: of[f"windows_{kind}"] for kind in ("due", *STATES)} for of in said}
        assert [printed["daily_sales"][state] for state in ("landed", "failed", "held", "missing")] == [1, 1, 1, 27]
        assert all(of["due"] == sum(of[state] for state in STATES) for of in printed.values())

        counts = admin_client.get("/calendar.json", params=shown).json()["counts"]
        assert {name: {kind: of[kind] for kind in ("due", *STATES)} for name, of in counts.items()} == printed
        fresh = {of["dataset"]: of for of in admin_client.get("/now.json").json()["datasets"]}
        for name, of in printed.items():
            assert [fresh[name][f"windows_{s}"] for s in ("running", "failed", "missing")] == [
                of[state] for state in ("running", "failed", "missing")
            ]
        text = admin_client.get("/", params=shown).raise_for_status().text
        for name, of in printed.items():
            row = text[text.index(f'data-dataset="{name}"') :]
            assert words_of(row, "counts").startswith(sentence(of)), name
        assert words_of(text, "glance").startswith(sentence(sum(map(Counter, printed.values()), Counter())))

    def test_a_window_that_was_rolled_back_has_a_look_and_a_sentence_of_its_own(
        self, admin_client: httpx.Client, source_day: Callable[[str], int]
    ) -> None:
        source_day(loading.OTHER_QUANTITY)
        loading.land(loading.day("2026-10-05"), "b")
        roll_back("2026-10-05")
        said = "rolled back to version 3 by ada at "
        (cell,) = re.findall(r'<a class="c held"[^>]*>[^<]*</a>', admin_client.get("/", params={"days": 30}).text)
        assert cell.endswith(">◆</a>")
        assert said in cell
        page = admin_client.get(WINDOW).text
        assert "held: a former version was restored" in page
        assert said in page
        assert "daily_sales" in highwater("status").stdout
        assert "1 held" in highwater("status").stdout
        day = loading.day("2026-10-05")
        holds.release(holds.plan("daily_sales", day.start, day.end), "ada", "the till is fixed")
        loading.land(day, "c")
        assert admin_client.get(f"{WINDOW}.json").json()["window"]["state"] == "landed"

    def test_stages_of_a_run_are_one_attempt(self, admin_client: httpx.Client) -> None:
        for try_number in (1, 2):
            for stage in ("extract", "transform")[:try_number]:
                run = ledger.Run("historical_sales_migration", "c", try_number)
                with ledger.attempt("daily_sales", loading.day("2026-10-08"), stage, run):
                    pass
        cells = admin_client.get("/calendar.json", params={"days": 30}).json()["datasets"]["daily_sales"]
        tried = {cell["cell_start"][:10]: cell["attempts"] for cell in cells if cell["attempts"]}
        assert tried == {"2026-10-06": 1, "2026-10-08": 2}
        assert admin_client.get(f"{WINDOW[:-10]}2026-10-08.json").json()["window"]["attempts"] == 2

    def test_an_incident_names_its_windows(self, admin_client: httpx.Client) -> None:
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT FROM ops.reconcile_incidents()")
        page = admin_client.get("/now").raise_for_status().text
        assert 'windows/daily_sales/2026-10-06">daily_sales</a>: 2026-10-06</p>' in page
        assert "windows 2026-10-06 00:00 to 2026-10-07 00:00" in highwater("incidents", "list").stdout

    def test_an_old_look_at_a_source_is_reported_as_one(self, admin_client: httpx.Client) -> None:
        run = ledger.Run("incremental_data_processing", "a")
        with ledger.attempt("orders", loading.day("2026-10-30"), "identify_changes", run):
            pass
        shown = admin_client.get("/now").raise_for_status().text
        assert "<b>shop</b> reachable <span" in shown
        with warehouse.session("postgres") as cursor:
            cursor.execute("UPDATE ops.attempts SET ended_at = ended_at - '6 minutes'::interval")
        assert "<b>shop</b> was reachable <span" in admin_client.get("/now").text

    def test_a_source_is_away_for_as_long_as_its_outage_lasts(self, admin_client: httpx.Client) -> None:
        good = Check("good", reachable=True, seconds=0.01, complete=True, error=None)
        away = Check("away", reachable=False, seconds=0.01, complete=None, error="source 'partner' is unavailable")

        def shown(found: Check | None) -> tuple[str, bool]:
            """What the page says of the partner, and whether `status` says that it is away, an hour after a look."""
            if found:
                run = ledger.Run("multi_source_sync", "a")
                source_checks.record("partner", loading.day("2026-10-30"), found, run)
            alerts.look()
            page = admin_client.get("/now").raise_for_status().text
            shown = re.sub("<[^>]+>", "", page.split("<b>partner</b> ")[1]).split(" at ")[0]
            with warehouse.session("postgres") as cursor:
                cursor.execute("UPDATE ops.source_checks SET checked_at = checked_at - '1 hour'::interval")
            return shown, "partner: source unavailable since" in highwater("status").stdout

        assert [shown(good), shown(None)] == [("reachable", False), ("was reachable", False)]
        assert [shown(away), shown(None)] == [("unavailable", True), ("unavailable", True)]
        assert shown(good) == ("reachable", False)

    def test_a_dag_that_is_not_there_is_refused_as_every_other_name_is(self, admin_client: httpx.Client) -> None:
        for path in ("/calendar.json", "/now.json", "/"):
            said = admin_client.get(path, params={"dag_id": "nope"})
            assert (said.status_code, "unknown DAG" in said.text) == (404, True)
        assert "error" in admin_client.get("/now.json", params={"dag_id": "nope"}).json()
        assert admin_client.get("/now.json", params={"dag_id": "multi_source_sync"}).status_code == 200

    def test_shorter_windows_fold_into_days_that_open(self, admin_client: httpx.Client) -> None:
        folded = admin_client.get("/calendar.json").json()["datasets"]["payments"]
        assert folded[0]["windows"] == 4
        single = admin_client.get("/calendar.json", params={"hours": 1, "days": 31}).json()["datasets"]["payments"]
        assert sum(cell["windows"] for cell in folded) == len(single)
        opened = admin_client.get(f"/days/payments/{folded[0]['cell_start'][:10]}.json").json()["windows"]
        assert [cell["cell_start"] for cell in opened] == [cell["cell_start"] for cell in single[:4]]

    def test_a_year_is_laid_out_by_weeks(self, admin_client: httpx.Client, admin: Cursor) -> None:
        with warehouse.session("postgres") as cursor:
            cursor.execute("UPDATE control.datasets SET first_window = '2025-11-01' WHERE dataset = 'daily_sales'")
        try:
            text = admin_client.get("/", params={"days": 365}).text
        finally:
            with warehouse.session("postgres") as cursor:
                cursor.execute("UPDATE control.datasets SET first_window = '2026-10-01' WHERE dataset = 'daily_sales'")
        row = text[text.index('data-dataset="daily_sales"') :].split("</article>")[0]
        assert row.count('class="c ') == 365
        assert 'class="cells weeks"' in row

    def test_nothing_new_is_not_sent_again(self, admin_client: httpx.Client) -> None:
        mark = re.search(r"seen=(\w+)", admin_client.get("/calendar").text)
        assert mark
        assert admin_client.get("/calendar", params={"seen": mark[1]}).status_code == 204
        loading.land(loading.day("2026-10-07"))
        assert admin_client.get("/calendar", params={"seen": mark[1]}).status_code == 200

    def test_a_window_tells_its_ledger_row_its_refused_rows_and_its_stages(self, admin_client: httpx.Client) -> None:
        shown = admin_client.get(f"{WINDOW}.json").json()
        assert shown["window"]["state"] == "landed"
        assert shown["window"]["rows_extracted"] == 400
        assert sum(reason["rows_refused"] for reason in shown["quarantine"]) == shown["window"]["rows_quarantined"]
        failed = admin_client.get(f"{FAILED}.json").json()
        assert [(a["stage"], a["state"]) for a in failed["attempts"]] == [("audit", "failed")]
        assert failed["links"]["run"] == "/dags/historical_sales_migration/runs/run%20b"

    def test_rows_are_for_who_may_run_the_dag(self, admin_client: httpx.Client, vera: httpx.Client) -> None:
        assert admin_client.get(f"{WINDOW}.json").json()["quarantine"][0]["examples"]
        assert not any(reason["examples"] for reason in vera.get(f"{WINDOW}.json").json()["quarantine"])
        assert "<pre>" in admin_client.get(WINDOW).text
        assert "<pre>" not in vera.get(WINDOW).text

    def test_a_window_tells_which_of_its_versions_can_still_be_had(
        self, admin_client: httpx.Client, source_day: Callable[[str], int]
    ) -> None:
        source_day(loading.OTHER_QUANTITY)
        loading.land(loading.day("2026-10-05"), "b")
        roll_back("2026-10-05")
        shown = admin_client.get(f"{WINDOW}.json").raise_for_status().json()["versions"]
        assert [(v["version"], v["state"]) for v in shown] == [(3, "published"), (2, "rolled back")]
        # Numbers go on where other tests of this warehouse left them.
        with warehouse.session("analyst") as cursor:
            cursor.execute("SELECT max(rollback_id) FROM ops.rollbacks")
            by = f"rollback {warehouse.fetch_value(cursor)} by ada"
        assert shown[0]["run_id"] == by
        shown = admin_client.get(WINDOW).raise_for_status().text
        assert "rolled back, until 2026-11-07 12:00" in shown
        assert f"{by}</td>" in shown

    def test_what_the_policy_says_of_a_window(self, admin_client: httpx.Client) -> None:
        with warehouse.session("operator") as cursor:
            cursor.execute(
                "INSERT INTO control.closed_days (day, dataset, reason) VALUES ('2026-10-08', 'daily_sales', %s)",
                (SCRIPT,),
            )
        try:
            shown = admin_client.get("/windows/daily_sales/2026-10-08.json").json()["window"]
            page = admin_client.get("/windows/daily_sales/2026-10-08").text
            changes = admin_client.get("/now.json").json()["policy_changes"]
        finally:
            with warehouse.session("postgres") as cursor:
                cursor.execute("DELETE FROM control.closed_days")
                cursor.execute("DELETE FROM control.catchup_policy_history")
        assert shown["policy_rule"] == "skip_closed_days"
        assert SCRIPT not in page
        assert html.escape(SCRIPT) in page
        assert changes[0]["changed_by"] == "operator"

    @pytest.mark.parametrize("path", ["/", FAILED, "/days/daily_sales/2026-10-06"])
    def test_markup_in_an_error_does_not_run(self, admin_client: httpx.Client, path: str) -> None:
        text = admin_client.get(path).text
        assert html.escape(SCRIPT) in text
        assert SCRIPT not in text
        assert set(re.findall(r"<script[^>]*src=\"(/highwater/static/[\w.]+)", text)) == {
            f"/highwater/static/{name}.js" for name in ("theme", "htmx.min", "page")
        }
        assert text.count("<script") == 3
        assert "style=" not in text

    def test_it_loads_nothing_from_elsewhere(self, admin_client: httpx.Client) -> None:
        text = admin_client.get("/").text
        assert not re.findall(r"(?:src|href|action)=\"(?:\w+:)?//", text)

    def test_it_says_so_when_the_warehouse_is_away(self, admin_client: httpx.Client) -> None:
        with warehouse.session("postgres") as cursor:
            cursor.execute("ALTER ROLE analyst NOLOGIN")
        try:
            answers = {path: admin_client.get(path) for path in ("/", "/calendar", "/now.json", WINDOW)}
        finally:
            with warehouse.session("postgres") as cursor:
                cursor.execute("ALTER ROLE analyst LOGIN")
        assert {answer.status_code for answer in answers.values()} == {503}
        assert "refuses the login" in answers["/"].text
        assert "refuses the login" in answers["/now.json"].json()["error"]
        assert 'http-equiv="refresh"' in answers["/"].text
        assert admin_client.get("/").status_code == 200

    def test_a_statement_that_takes_too_long_is_given_up(self, admin_client: httpx.Client) -> None:
        with warehouse.session("postgres") as cursor:
            cursor.execute("LOCK TABLE ops.window_ledger IN ACCESS EXCLUSIVE MODE")
            answer = admin_client.get("/calendar")
        assert answer.status_code == 503
        assert "request a smaller range" in answer.text


class TestBadInput:
    @pytest.mark.parametrize(
        ("path", "status", "said"),
        [
            ("/windows/nix/2026-10-05", 404, "unknown dataset"),
            (f"/windows/{SCRIPT.replace('/', '%2F')}/2026-10-05", 404, ""),
            ("/windows/daily_sales/2026-13-45", 400, "expected a day (2026-10-24, today"),
            ("/windows/daily_sales/2026-10-05T01:30", 404, "no window of daily_sales begins"),
            ("/windows/daily_sales/2020-01-01", 404, "the first window of daily_sales begins"),
            ("/windows/daily_sales/9000-01-01", 404, "has not begun"),
            ("/windows/daily_sales/0001-01-01T00:00+23:59", 400, "expected a day (2026-10-24, today"),
            ("/days/daily_sales/tomorrow", 400, "expected a day: 2026-10-24"),
            ("/?since=2026-10-10&until=2026-10-01", 400, "expected a day before"),
            ("/?days=many", 400, "expected a whole number"),
            ("/?since=%00", 400, "expected a day: 2026-10-24"),
            ("/backfills/999999", 404, "unknown backfill"),
            ("/backfills/99999999999999999999", 404, "unknown backfill"),
            ("/backfills/one", 400, "expected a whole number"),
            ("/backfills/new?dataset=nix&since=2026-10-01&until=2026-10-02", 404, "unknown dataset"),
            ("/backfills/new?dataset=daily_sales&since=2026-10-09&until=2026-10-02", 409, "is not before"),
            ("/backfills/new?dataset=daily_sales&since=x&until=2026-10-02", 400, "expected a day (2026-10-24, today"),
            ("/backfills/new?dataset=orders&since=2026-10-30&until=2026-10-31", 409, "highwater checkpoint reset"),
            ("/backfills/new?dataset=daily_sales&chosen=2026-10-05,nix", 400, "expected a day (2026-10-24, today"),
            ("/backfills/new?dataset=daily_sales&since=1990-01-01&until=2026-10-02", 409, "at most 10 years"),
            ("/static/..%2Fapp.py", 404, ""),
            ("/static/app.py", 404, "file not found"),
        ],
    )  # fmt: skip
    def test_a_plain_message(self, admin_client: httpx.Client, path: str, status: int, said: str) -> None:
        answer = admin_client.get(path)
        assert answer.status_code == status, answer.text
        assert said in html.unescape(answer.text)
        assert "Traceback" not in answer.text
        assert SCRIPT not in answer.text

    def test_a_million_days_are_answered_by_as_many_as_are_shown(self, admin_client: httpx.Client) -> None:
        shown = admin_client.get("/calendar.json", params={"days": 1_000_000}).json()
        assert shown["since"][:4] == "2025"
        asked = admin_client.get("/calendar.json", params={"since": "1990-01-01", "until": "2026-11-01"}).json()
        assert asked["since"][:4] == "2025"

    def test_a_plan_of_many_windows_shows_the_first_and_counts_the_rest(self, admin_client: httpx.Client) -> None:
        with warehouse.session("postgres") as cursor:
            cursor.execute(
                "UPDATE control.datasets SET first_window = '2026-10-01', step = '5 min' WHERE dataset = 'page_views'"
            )
        try:
            text = admin_client.get(
                "/backfills/new", params={"dataset": "page_views", "since": "2026-10-01", "until": "2026-10-31"}
            ).text
        finally:
            with warehouse.session("postgres") as cursor:
                cursor.execute(
                    "UPDATE control.datasets SET first_window = '2026-10-28', step = '6 h' WHERE dataset = 'page_views'"
                )
        assert "8,640 of 8,640 windows will be loaded" in text
        assert "the first 200 of 8,640 windows" in text

    def test_a_request_that_brings_too_much_is_refused(self, admin_client: httpx.Client) -> None:
        assert admin_client.post("/backfills", data={"why": "x" * 100_000}).status_code == 413


class TestDone:
    @pytest.fixture
    def two_days(self, ledger_of_two: None, admin_client: httpx.Client) -> Iterator[dict[str, str]]:
        """The form of a backfill of two days that are not beside each other."""
        yield form_of(admin_client, "/backfills/new?dataset=daily_sales&chosen=2026-10-06,2026-10-08") | {"why": SCRIPT}
        with warehouse.session("postgres") as cursor:
            cursor.execute("DELETE FROM control.backfill_windows")
            cursor.execute("DELETE FROM control.backfills")

    def test_a_backfill_of_the_cells_that_were_chosen(
        self, admin_client: httpx.Client, two_days: dict[str, str], analyst: Cursor
    ) -> None:
        answer = admin_client.post("/backfills", data=two_days)
        assert answer.status_code == 303, answer.text
        analyst.execute("SELECT requested_by, via, reason, which FROM control.backfills")
        assert [tuple(row) for row in analyst.fetchall()] == [("admin", "form", SCRIPT, "all")]
        analyst.execute("SELECT lower(window_range)::date::text, action FROM control.backfill_windows ORDER BY 1")
        assert [tuple(row) for row in analyst.fetchall()] == [
            ("2026-10-06", "load"), ("2026-10-07", "skip"), ("2026-10-08", "load")
        ]  # fmt: skip
        number = answer.headers["location"].rsplit("/", 1)[1]
        page = admin_client.get(f"/backfills/{number}").text
        assert SCRIPT not in page
        assert html.escape(SCRIPT) in page
        same = admin_client.get("/backfills/new?dataset=daily_sales&chosen=2026-10-06,2026-10-08").text
        assert f"backfill {number} (requested) is to load 2 of these windows of daily_sales already" in same
        assert "Start the backfill" not in same
        for act, state in (("pause", "paused"), ("resume", "requested")):
            token = form_of(admin_client, f"/backfills/{number}")["token"]
            assert admin_client.post(f"/backfills/{number}/{act}", data={"token": token}).status_code == 303
            assert admin_client.get(f"/backfills/{number}.json").json()["backfill"]["state"] == state
        # A form that does not say so is led to the one that asks.
        unsure = admin_client.post(f"/backfills/{number}/cancel", data={"token": token})
        assert (unsure.status_code, unsure.headers["location"][-len("/cancel") :]) == (303, "/cancel")
        assert admin_client.get(f"/backfills/{number}.json").json()["backfill"]["state"] == "requested"
        asked = admin_client.get(f"/backfills/{number}/cancel").text
        assert "is final: 2 of its 3 windows will not be loaded, and it cannot be resumed. A paused one can." in asked
        assert f'href="/highwater/backfills/{number}/cancel"' in admin_client.get(f"/backfills/{number}").text
        sure = form_of(admin_client, f"/backfills/{number}/cancel")
        assert admin_client.post(f"/backfills/{number}/cancel", data=sure).status_code == 303
        assert admin_client.get(f"/backfills/{number}.json").json()["backfill"]["state"] == "cancelled"
        assert admin_client.get(f"/backfills/{number}.json").json()["backfill"]["note"] == "cancelled by admin"
        for again in (
            admin_client.post(f"/backfills/{number}/cancel", data=sure),
            admin_client.get(f"/backfills/{number}/cancel"),
        ):
            assert again.status_code == 409
            assert "can be cancelled" in again.text

    def test_a_reason_that_is_no_text_is_refused(self, admin_client: httpx.Client, two_days: dict[str, str]) -> None:
        answer = admin_client.post("/backfills", data=two_days | {"why": "why \x00 not"})
        assert (answer.status_code, "invalid text in the request" in answer.text) == (400, True)

    def test_a_plan_that_changed_since_it_was_shown_is_shown_again(
        self, admin_client: httpx.Client, two_days: dict[str, str], analyst: Cursor
    ) -> None:
        query = "dataset=daily_sales&since=2026-10-06&until=2026-10-09"
        order = form_of(admin_client, f"/backfills/new?{query}") | {"why": "to see"}
        loading.land(loading.day("2026-10-07"))
        answer = admin_client.post("/backfills", data=order)
        assert answer.status_code == 409
        assert "changed since it was shown" in answer.text
        analyst.execute("SELECT count(*) FROM control.backfills")
        assert analyst.fetchone() == (0,)

    @pytest.mark.parametrize(
        ("change", "headers"),
        [
            ({"token": ""}, {}),
            ({"token": "forged"}, {}),
            ({}, {"Origin": "http://127.0.0.1:1"}),
            ({}, {"Sec-Fetch-Site": "cross-site"}),
            ({}, {"Sec-Fetch-Site": "same-site"}),
        ],
    )
    def test_what_another_site_makes_the_browser_send_is_refused(
        self, admin_client: httpx.Client, two_days: dict[str, str], analyst: Cursor, change: Any, headers: Any
    ) -> None:
        assert admin_client.post("/backfills", data=two_days | change, headers=headers).status_code == 403
        analyst.execute("SELECT count(*) FROM control.backfills")
        assert analyst.fetchone() == (0,)

    def test_the_form_of_another_user_is_refused(
        self, server: PageServer, admin_client: httpx.Client, vera: httpx.Client, two_days: dict[str, str]
    ) -> None:
        answer = vera.post("/backfills", data=two_days)
        assert answer.status_code == 403
        assert "belongs to another user" in answer.text

    def test_who_may_not_run_the_dag_is_refused_by_name(
        self, vera: httpx.Client, server: PageServer, two_days: dict[str, str], analyst: Cursor
    ) -> None:
        bearer = {"Authorization": f"Bearer {server.token('vera')}"}
        answer = vera.post("/backfills", data=two_days, headers=bearer)
        assert answer.status_code == 403
        assert "vera may not create runs of historical_sales_migration" in answer.text
        assert vera.get("/backfills/new", params={"dataset": "daily_sales", "chosen": "2026-10-06"}).status_code == 403
        assert 'id="chosen"' not in vera.get("/").text
        analyst.execute("SELECT count(*) FROM control.backfills")
        assert analyst.fetchone() == (0,)

    def test_an_incident_is_acknowledged_by_who_may(
        self, admin_client: httpx.Client, vera: httpx.Client, server: PageServer, ledger_of_two: None, analyst: Cursor
    ) -> None:
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT opened FROM ops.reconcile_incidents()")
        open_ones = admin_client.get("/now.json").json()["incidents"]
        (number,) = [one["incident_id"] for one in open_ones if one["subject"] == "daily_sales"][:1]
        path = f"/incidents/{number}/acknowledge"
        assert path not in vera.get("/").text
        bearer = {"Authorization": f"Bearer {server.token('vera')}"}
        assert vera.post(path, data={"note": "mine"}, headers=bearer).status_code == 403
        token = form_of(admin_client, "/")["token"]
        assert admin_client.post(path, data={"note": " ", "token": token}).status_code == 409
        assert admin_client.post(path, data={"note": SCRIPT, "token": token}).status_code == 303
        analyst.execute("SELECT acknowledged_by, note FROM ops.incidents WHERE incident_id = %s", (number,))
        assert analyst.fetchone() == ("admin", SCRIPT)
        shown = admin_client.get("/").text
        assert html.escape(SCRIPT) in shown
        assert SCRIPT not in shown
        assert admin_client.post("/incidents/424242/acknowledge", data={"note": "x", "token": token}).status_code == 404


def _airflow_environment() -> dict[str, str]:
    from highwater.local import environment

    return environment.environment(1)
