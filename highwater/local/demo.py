"""``scripts/demo``: start the whole platform on a bare machine and show thirty days of sales landing."""

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
INCOMPLETE, USAGE_ERROR, INTERRUPTED = 1, 2, 130
POLL = 1.0
"""Seconds between two polls of the ledger."""
GIVE_UP = 3
"""Number of failed windows after the start from which the platform itself counts as broken, and the demo stops."""

T = TypeVar("T")

out = Console()
err = Console(stderr=True, soft_wrap=True)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop once every window has landed or failed.")] = False,
) -> None:
    """Start Postgres and Airflow on this machine and watch the migration of thirty days of sales.

    Runs until Ctrl-C; the next start continues where this one stopped. With --once the exit code is 0 if every due
    window landed and the ledger has no gaps, else 1. It is 130 after Ctrl-C, and 2 for an invalid setting.
    """
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        raise SystemExit(_run(once))
    except ConfigurationError as error:
        err.print(f"demo: {error}", markup=False, highlight=False)
        raise SystemExit(USAGE_ERROR) from None
    except HighwaterError as error:
        err.print(f"demo: {error}", markup=False, highlight=False)
        raise SystemExit(INCOMPLETE) from None
    except psycopg2.Error as error:
        err.print(f"demo: {sentences.of(error)}", markup=False, highlight=False)
        raise SystemExit(INCOMPLETE) from None
    except KeyboardInterrupt:
        out.print("stopped; the next start continues from here")
        raise SystemExit(INTERRUPTED) from None


def _run(once: bool) -> int:
    with ExitStack() as stack:
        stack.enter_context(claim())
        stack.callback(server.stop)
        with _step("Postgres"):
            server.start()
        with _step("databases, roles, simulated sources"):
            bootstrap.run()
        with _step("Airflow"):
            airflow = stack.enter_context(LocalAirflow())
            stack.callback(out.print, "stopping when running tasks are done; press Ctrl-C again to kill them")
            airflow.wait_until_healthy()
        end = _watch(airflow)
        _summarise(end)
        _what_next(once)
        if not once:
            _stay(airflow)
        return 0 if end.is_complete else INCOMPLETE


@contextmanager
def _step(name: str) -> Iterator[None]:
    begun = time.monotonic()
    with out.status(f"starting: {name}"):
        yield
    out.print(f"{name} [dim]({time.monotonic() - begun:.1f} s)[/]")


def _watch(airflow: LocalAirflow) -> Progress:
    """Show the progress until every window has landed, the rest has failed, or too many have failed."""
    columns = (TextColumn("landed"), BarColumn(16), MofNCompleteColumn(), TextColumn("{task.description}"))
    seen: Progress | None = None
    failed_before = _query(lambda: progress.read(DATASET, DAG)).failed
    with Bar(*columns, console=out, disable=not out.is_terminal) as bar:
        shown = bar.add_task("", total=None)
        while True:
            _require_up(airflow)
            now = _query(lambda: progress.read(DATASET, DAG))
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


def _query(query: Callable[[], T]) -> T:
    """The result of a query, retried while the warehouse is busy: that is no reason to stop the platform."""
    return progress.retry_until_answered(
        query, lambda message: out.print(message, markup=False, highlight=False, soft_wrap=True)
    )


def _require_up(airflow: LocalAirflow) -> None:
    """Check that every component is alive and that Airflow can import the DAG; otherwise its runs would never start.

    Raises:
        HighwaterError: a component died, or the DAG cannot be imported.
    """
    if dead := airflow.dead():
        raise HighwaterError(f"Airflow's {dead[0]} died; end of its log:\n{airflow.tail(dead[0])}")
    if error := _query(lambda: progress.import_error(f"{DAG}.py")):
        raise HighwaterError(f"Airflow cannot import dags/{DAG}.py:\n{error}")


def _summarise(end: Progress) -> None:
    """Print what landed, at what speed, and what did not and why."""
    table = Table(show_header=False, title=f"{DATASET}: {end.landed} of {end.due} windows landed")
    speed = "unknown" if end.rows_per_second is None else f"{end.rows_per_second:,.0f} rows per second over all stages"
    for name, value in (
        ("rows extracted", f"{end.rows_extracted:,}"),
        ("rows published", f"{end.rows_published:,}"),
        ("rows quarantined", f"{end.rows_quarantined:,}"),
        ("rows deduplicated", f"{end.rows_deduplicated:,}"),
        ("speed", speed),
        ("windows loaded at once", f"at most {end.most_at_once or 0}"),
        ("gaps in the ledger", str(end.gaps)),
    ):
        table.add_row(name, value)
    out.print(table)
    out.print(_query(_status), soft_wrap=True)


def _status() -> RenderableType:
    with warehouse.session("analyst") as cursor:
        found = status.read(cursor)
        return status.draw(found, status.troubles(cursor, found))


def _what_next(once: bool) -> None:
    """Print what to type next: the UI and its login, the status command, a query as the reading role."""
    login = environment.psql_command("analyst")
    query = "SELECT reason, count(*) FROM quarantine.rejected_rows GROUP BY reason ORDER BY 2 DESC"
    out.print("\nstart it again with scripts/demo, then:" if once else "\nwhile this is running:", highlight=False)
    for name, value in (
        ("Airflow", f"{settings.get().ui_address}   user admin, password {credentials.secret('admin_password')}"),
        ("status", commands.typed("status")),
        ("psql", login),
        ("change", f"{environment.psql_command('operator')}   # may change policies"),
        ("try", f'{login} -c "{query}"'),
    ):
        out.print(f"  {name:8}{value}", markup=False, highlight=False, soft_wrap=True)


def _stay(airflow: LocalAirflow) -> None:
    out.print("\nrunning until Ctrl-C")
    while True:
        _require_up(airflow)
        time.sleep(POLL)


if __name__ == "__main__":
    app(prog_name="scripts/demo")
