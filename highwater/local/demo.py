"""``scripts/demo``: the whole platform on a bare machine, and thirty days of sales landing in it while one looks on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, TypeVar

import psycopg2
import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from highwater.environment import commands, credentials, settings
from highwater.local import environment, progress, server
from highwater.local.platform import LocalAirflow, claim
from highwater.local.progress import Progress
from highwater.model import estimates
from highwater.model.errors import ConfigurationError, HighwaterError
from highwater.setup import bootstrap
from highwater.store import sentences, status, warehouse

DATASET = "daily_sales"
DAG = "historical_sales_migration"
NOT_WHOLE, MISTAKE, INTERRUPTED = 1, 2, 130
POLL = 1.0
"""Seconds between two looks at the ledger."""
GIVE_UP = 3
"""So many windows that fail after the start are no bad day but a broken platform: waiting on brings nothing."""

T = TypeVar("T")

out = Console()
err = Console(stderr=True, soft_wrap=True)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop when all has landed, or cannot land.")] = False,
) -> None:
    """Start Postgres and Airflow on this machine and watch the migration of thirty days of sales.

    Stays up until Ctrl-C; another start goes on where this one stopped. With --once the exit code is 0 if every due
    window landed and the ledger has no gap, 1 if not. Ctrl-C is 130, a mistake in the settings 2.
    """
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        raise SystemExit(_run(once))
    except ConfigurationError as error:
        err.print(f"demo: {error}", markup=False, highlight=False)
        raise SystemExit(MISTAKE) from None
    except HighwaterError as error:
        err.print(f"demo: {error}", markup=False, highlight=False)
        raise SystemExit(NOT_WHOLE) from None
    except psycopg2.Error as error:
        err.print(f"demo: {sentences.of(error)}", markup=False, highlight=False)
        raise SystemExit(NOT_WHOLE) from None
    except KeyboardInterrupt:
        out.print("stopped; another start goes on from here")
        raise SystemExit(INTERRUPTED) from None


def _run(once: bool) -> int:
    with ExitStack() as stack:
        stack.enter_context(claim())
        stack.callback(server.stop)
        with _step("Postgres"):
            server.start()
        with _step("databases, roles, the simulated source"):
            bootstrap.run()
        with _step("Airflow"):
            airflow = stack.enter_context(LocalAirflow())
            stack.callback(out.print, "stopping once running tasks are done; Ctrl-C again ends them at once")
            airflow.wait_until_healthy()
        end = _watch(airflow)
        _summarise(end)
        _what_next(once)
        if not once:
            _stay(airflow)
        return 0 if end.is_whole else NOT_WHOLE


@contextmanager
def _step(name: str) -> Iterator[None]:
    begun = time.monotonic()
    with out.status(f"starting: {name}"):
        yield
    out.print(f"{name} [dim]({time.monotonic() - begun:.1f} s)[/]")


def _watch(airflow: LocalAirflow) -> Progress:
    """Show how far the windows are until all have landed, the rest cannot, or too many could not."""
    columns = (TextColumn("landed"), BarColumn(16), MofNCompleteColumn(), TextColumn("{task.description}"))
    seen: Progress | None = None
    failed_before = _ask(lambda: progress.read(DATASET, DAG)).failed
    with Bar(*columns, console=out, disable=not out.is_terminal) as bar:
        shown = bar.add_task("", total=None)
        while True:
            _still_up(airflow)
            now = _ask(lambda: progress.read(DATASET, DAG))
            line = f"{now.runs_active} runs of {DAG} active, {now.rows_quarantined:,} quarantined"
            line += f", {now.failed} failed" if now.failed else ""
            rest = estimates.rest_in_words(now.at_least, now.at_most)
            line += f", {rest} left" if rest and now.landed + now.skipped < now.due else ""
            bar.update(shown, total=now.due, completed=now.landed + now.skipped, description=line)
            if not out.is_terminal and (seen is None or (now.landed, now.failed) != (seen.landed, seen.failed)):
                text = f"{now.landed} of {now.due} windows landed, {line}"
                out.print(text, highlight=False, soft_wrap=True)
            if now.is_over or now.failed - failed_before >= GIVE_UP:
                return now
            seen = now
            time.sleep(POLL)


def _ask(ask: Callable[[], T]) -> T:
    """What the warehouse answers; one that is busy for a while is no reason to stop the platform."""
    return progress.until_answered(ask, lambda said: out.print(said, markup=False, highlight=False, soft_wrap=True))


def _still_up(airflow: LocalAirflow) -> None:
    """Raise what happened if a component died or Airflow cannot read the DAG: its runs would never come."""
    if dead := airflow.dead():
        raise HighwaterError(f"Airflow's {dead[0]} died; its log ends:\n{airflow.tail(dead[0])}")
    if error := _ask(lambda: progress.import_error(f"{DAG}.py")):
        raise HighwaterError(f"Airflow cannot read dags/{DAG}.py:\n{error}")


def _summarise(end: Progress) -> None:
    """What landed and what it took; what did not, and why."""
    table = Table(show_header=False, title=f"{DATASET}: {end.landed} of {end.due} windows landed")
    speed = "unknown" if end.rows_per_second is None else f"{end.rows_per_second:,.0f} a second, all stages together"
    for name, value in (
        ("rows extracted", f"{end.rows_extracted:,}"),
        ("rows published", f"{end.rows_published:,}"),
        ("rows quarantined", f"{end.rows_quarantined:,}"),
        ("rows deduplicated", f"{end.rows_deduplicated:,}"),
        ("speed", speed),
        ("windows in work at once", f"at most {end.most_at_once or 0}"),
        ("gaps in the ledger", str(end.gaps)),
    ):
        table.add_row(name, value)
    out.print(table)
    out.print(_ask(_status), soft_wrap=True)


def _status() -> RenderableType:
    with warehouse.session("analyst") as cursor:
        found = status.read(cursor)
        return status.draw(found, status.troubles(cursor, found))


def _what_next(once: bool) -> None:
    """What to type: the UI and its login, the ledger's strip, a query as the role that may read."""
    login = environment.psql_command("analyst")
    query = "SELECT reason, count(*) FROM quarantine.rejected_rows GROUP BY reason ORDER BY 2 DESC"
    out.print("\nscripts/demo brings it up again; then:" if once else "\nwhile this is up:", highlight=False)
    for name, value in (
        ("Airflow", f"{settings.get().ui_address}   user admin, password {credentials.secret('admin_password')}"),
        ("status", commands.typed("status")),
        ("psql", login),
        ("change", f"{environment.psql_command('operator')}   # may change what is wanted"),
        ("try", f'{login} -c "{query}"'),
    ):
        out.print(f"  {name:8}{value}", markup=False, highlight=False, soft_wrap=True)


def _stay(airflow: LocalAirflow) -> None:
    out.print("\nup until Ctrl-C")
    while True:
        _still_up(airflow)
        time.sleep(POLL)


if __name__ == "__main__":
    app(prog_name="scripts/demo")
