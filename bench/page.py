"""The page with five datasets of a year each, beside Airflow's own list of DAGs, in one browser: milliseconds."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import measuring
import typer
from measuring import AsJson, Figure

from highwater.environment import settings
from highwater.local.platform import LocalAirflow
from highwater.store import warehouse

SEEN = {
    "Airflow's list of DAGs": ("/dags", "a[href*='/dags/historical_sales_migration']"),
    "the page by itself": ("/highwater/?days=365", "a.c.landed"),
    "the page within Airflow": ("/plugin/highwater", "a.c.landed"),
}
"""Each with its path and the element that shows it is complete."""

YEAR = """
DELETE FROM control.sources;
DELETE FROM control.datasets WHERE dataset <> 'daily_sales';
UPDATE control.datasets SET first_window = date_trunc('day', now()) - interval '365 days' WHERE dataset = 'daily_sales';
INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step, due_after, max_lag)
SELECT 'bench_' || n, 'historical_sales_migration', 'sales.bench_' || n, d.first_window, d.step, d.due_after, d.max_lag
FROM control.datasets AS d CROSS JOIN generate_series(1, 4) AS n WHERE d.dataset = 'daily_sales';
INSERT INTO ops.window_ledger
SELECT
    d.dataset, tstzrange(day, day + interval '1 day'), 1, 20000, 19990, 9, 1, md5(day::text), NULL, 'set', d.dag_id,
    'scheduled__' || day, day + interval '26 hours'
FROM control.datasets AS d
CROSS JOIN LATERAL generate_series(d.first_window, now() - interval '27 hours', interval '1 day') AS day
WHERE extract(DAY FROM day) <> 13;
INSERT INTO ops.attempts (
    dataset, window_range, stage, dag_id, run_id, try_number, host, pid, state, started_at, ended_at, seconds
)
SELECT l.dataset, l.window_range, stage, l.dag_id, l.run_id, 1, 'bench', 1, 'succeeded', l.landed_at, l.landed_at, 1
FROM ops.window_ledger AS l
CROSS JOIN unnest(ARRAY['validate_availability', 'extract', 'transform', 'audit', 'load', 'summarise']) AS stage;
ANALYZE;
"""


def main(
    repeat: Annotated[int, typer.Option(min=1, help="Number of loads of each; the median counts.")] = 15,
    chromium: Annotated[str, typer.Option(help="The browser.")] = shutil.which("chromium") or "chromium",
    as_json: AsJson = False,
) -> None:
    """Load each in turn, with a warm cache: time of first paint and of complete content."""
    with _platform():
        found = _measure(repeat, chromium)
    (beside, base), *ours = found.items()
    figures = [
        Figure(name, moment, row[kind], beside, base[kind], "ms", aim=1, most=300 if kind == "paint" else None)
        for name, row in ours
        for kind, moment in (("paint", "first paint"), ("content", "content there"))
    ]
    measuring.show(figures, as_json)


def _measure(times: int, chromium: str) -> dict[str, dict[str, float]]:
    from playwright.sync_api import sync_playwright

    address = settings.get().ui_address
    login = {"username": "admin", "password": json.loads(settings.get().ui_passwords_file.read_text())["admin"]}
    token = httpx.post(f"{address}/auth/token", json=login, timeout=60).json()["access_token"]
    seconds: dict[str, dict[str, list[float]]] = {name: {"paint": [], "content": []} for name in SEEN}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.add_cookies([{"name": "_token", "value": token, "url": address}])
        for _ in range(times + 2):
            for name, (path, content) in SEEN.items():
                page = context.new_page()
                began = time.perf_counter()
                page.goto(address + path, wait_until="commit")
                place = page.frame_locator("iframe[title=Highwater]") if path.startswith("/plugin") else page
                place.locator(content).first.wait_for(timeout=60_000)
                seconds[name]["content"].append(1000 * (time.perf_counter() - began))
                seconds[name]["paint"].append(_first_paint(page))
                page.close()
        browser.close()
    # The first two fill the browser's cache and the server's.
    return {name: {kind: statistics.median(all_[2:]) for kind, all_ in row.items()} for name, row in seconds.items()}


def _first_paint(page: Any) -> float:
    return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"))


@contextmanager
def _platform() -> Iterator[None]:
    """A running Airflow with every DAG, all paused, and a ledger of five years of days."""
    os.environ["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] = "True"
    with measuring.platform():
        with warehouse.session("postgres") as cursor:
            cursor.execute(YEAR)
        with LocalAirflow() as airflow:
            airflow.wait_until_healthy()
            yield


if __name__ == "__main__":
    typer.run(main)
