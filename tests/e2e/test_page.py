"""The page in a browser, against the real platform: the month turns green, a day fails, is fixed and loaded again."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from e2e import live
from e2e.live import Live

from highwater.environment import settings
from highwater.store import warehouse

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Frame, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="no chromium here: the page is not tried in a browser"
)
PATIENCE = 1000 * live.PATIENCE
"""Milliseconds after which waiting is an error; nothing is judged by how long it took."""


@pytest.fixture(scope="module")
def month(scratch: Callable[[str], Path]) -> Iterator[Live]:
    """Thirty days, one of which holds a till that no store has, so that its audit fails."""
    users = "admin:admin,vera:viewer"
    with live.platform(
        scratch("page"), (live.DAG, "selective_backfill"), AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=users
    ) as platform:
        platform.airflow.wait_until_healthy()
        yield platform


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A browser that is not logged in; what it asks of other machines fails the test."""
    context = browser.new_context()
    elsewhere: list[str] = []
    context.on("request", lambda request: None if _is_ours(request.url) else elsewhere.append(request.url))
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    yield opened
    context.close()
    assert elsewhere == []


def _is_ours(url: str) -> bool:
    return url.startswith((settings.get().ui_address, "data:", "blob:"))


def log_in(page: Page, user: str) -> None:
    """As a person does: name and password into Airflow's own form."""
    passwords = json.loads(settings.get().ui_passwords_file.read_text())
    page.goto(f"{settings.get().ui_address}/auth/login")
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", passwords[user])
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda url: "/auth/" not in url)


def open_in_airflow(page: Page) -> Frame:
    """The page within Airflow's navigation."""
    page.click("a[href*='/plugin/highwater']")
    page.wait_for_selector("iframe[title=Highwater]")
    frame = page.query_selector("iframe[title=Highwater]").content_frame()  # type: ignore[union-attr]
    assert frame is not None
    try:
        frame.wait_for_selector("#calendar")
        frame.wait_for_selector("#tip", state="attached")  # its script has run: keys and focus are listened to
    except Exception as error:
        error.add_note(f"{frame.url}: {frame.inner_text('body')[:2000]}")
        raise
    return frame


def cells(frame: Frame | Page, state: str) -> int:
    """How many cells of the month are in that state."""
    return len(frame.query_selector_all(f"[data-dataset=daily_sales] .strip a.{state}"))


class TestMonth:
    """In this order: each test finds what the one before left."""

    def test_the_month_turns_green_while_a_person_looks(self, month: Live, page: Page) -> None:
        broken = simulation_day(month, 12)
        with warehouse.session("simulator", settings.get().sources_database) as cursor:
            cursor.execute("UPDATE legacy.sales SET till_no = 99 WHERE business_date = %s", (broken,))
        log_in(page, "admin")
        frame = open_in_airflow(page)
        # The page is not loaded again: it changes under the eyes of who looks.
        for landed in (1, 5, 15, 29):
            frame.locator("[data-dataset=daily_sales] .strip a.landed").nth(landed - 1).wait_for()
        frame.locator("[data-dataset=daily_sales] .strip a.failed").wait_for()
        assert cells(frame, "landed") == 29
        assert frame.inner_text("[data-dataset=daily_sales] .counts").startswith("29 of 30 due windows landed")

    def test_a_failed_day_tells_why_and_leads_to_the_log_of_its_task(self, month: Live, page: Page) -> None:
        log_in(page, "admin")
        frame = open_in_airflow(page)
        cell = frame.wait_for_selector("[data-dataset=daily_sales] a.failed")
        assert cell is not None
        cell.focus()
        tip = frame.inner_text("#tip")
        assert re.search(r"failed · .*audit: .*expect_column_values_to_be_between\(till_no\)", tip)
        page.keyboard.press("ArrowLeft")
        assert "landed" in frame.inner_text("#tip")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        frame.click("text=Log of the failed task")
        page.wait_for_url(re.compile(r"/dags/historical_sales_migration/runs/[^/]+/tasks/audit\?try_number=1$"))
        page.wait_for_selector("text=expect_column_values_to_be_between")

    def test_an_incident_is_acknowledged(self, month: Live, page: Page) -> None:
        log_in(page, "admin")
        page.goto(f"{settings.get().ui_address}/highwater/")
        incident = page.locator(".incident", has_text="audit failed")
        incident.locator("summary").click()
        incident.locator("input[name=note]").fill("asked the till's owner")
        incident.locator("button").click()
        page.wait_for_selector("text=Acknowledged by admin")
        rows = month.rows("SELECT acknowledged_by, note FROM ops.incidents WHERE kind = 'audit failed'")
        assert [tuple(row) for row in rows] == [("admin", "asked the till's owner")]

    def test_a_backfill_of_chosen_cells_is_started_and_watched_to_its_end(self, month: Live, page: Page) -> None:
        broken = simulation_day(month, 12)
        with warehouse.session("simulator", settings.get().sources_database) as cursor:
            cursor.execute("UPDATE legacy.sales SET till_no = 1 WHERE business_date = %s", (broken,))
        log_in(page, "admin")
        page.goto(f"{settings.get().ui_address}/highwater/")
        page.click(f"[data-dataset=daily_sales] a.c[data-w='{broken}']", modifiers=["Shift"])
        page.keyboard.press("Shift+ArrowRight")
        assert page.inner_text("#chosen output") == "2 chosen of daily_sales"
        page.click("#chosen button:has-text('Backfill')")
        page.wait_for_selector("text=Plan: 2 of 2 windows will be loaded")
        page.fill("input[name=why]", "the till is fixed")
        page.click("button:has-text('Start the backfill')")
        page.wait_for_url(re.compile(r"/backfills/\d+$"))
        page.locator("#backfill-state", has_text="done").wait_for()
        assert "2 of 2 windows landed" in page.inner_text("#backfill")
        page.click("text=all datasets")
        page.wait_for_selector("text=30 of 30 due windows landed")
        assert cells(page, "landed") == 30
        rows = month.rows("SELECT requested_by, via, reason FROM control.backfills")
        assert [tuple(row) for row in rows] == [("admin", "form", "the till is fixed")]
        page.goto(f"{settings.get().ui_address}/highwater/?dag_id={live.DAG}")
        page.wait_for_selector("text=Nothing is wrong.")

    def test_it_comes_by_itself_when_the_warehouse_is_back(self, month: Live, page: Page) -> None:
        log_in(page, "admin")
        with warehouse.session("postgres") as cursor:
            cursor.execute("ALTER ROLE analyst NOLOGIN")
        try:
            answer = page.goto(f"{settings.get().ui_address}/highwater/")
            assert answer is not None
            assert answer.status == 503
            assert "refuses the login" in page.inner_text("[role=alert]")
        finally:
            with warehouse.session("postgres") as cursor:
                cursor.execute("ALTER ROLE analyst LOGIN")
        page.wait_for_selector("#calendar")

    def test_who_may_only_look_is_offered_nothing_to_do(self, month: Live, page: Page) -> None:
        log_in(page, "vera")
        page.goto(f"{settings.get().ui_address}/highwater/")
        assert cells(page, "landed") == 30
        assert page.query_selector("#chosen") is None
        assert page.query_selector("form") is None
        day = simulation_day(month, 12)
        page.goto(f"{settings.get().ui_address}/highwater/backfills/new?dataset=daily_sales&chosen={day}")
        assert "vera may not create runs of" in page.inner_text("[role=alert]")

    def test_who_is_not_logged_in_sees_where_to_log_in(self, month: Live, page: Page) -> None:
        answer = page.goto(f"{settings.get().ui_address}/highwater/")
        assert answer is not None
        assert answer.status == 401
        page.click("text=Log in to Airflow")
        page.wait_for_selector("input[name=password]")

    def test_it_follows_the_theme_and_fits_a_phone(self, month: Live, page: Page) -> None:
        log_in(page, "admin")
        grounds = []
        for theme in ("light", "dark"):
            page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
            page.set_viewport_size({"width": 360, "height": 740})
            page.goto(f"{settings.get().ui_address}/highwater/")
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert grounds == ["rgb(255, 255, 255)", "rgb(11, 15, 23)"]


def simulation_day(month: Live, place: int) -> str:
    """The day of the window at that place of the month, from 0."""
    return str(
        month.value(
            "SELECT window_start::date::text FROM ops.window_status WHERE dataset = 'daily_sales'"
            " ORDER BY window_start OFFSET %s LIMIT 1",
            (place,),
        )
    )
