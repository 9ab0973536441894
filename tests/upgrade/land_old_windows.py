"""Run by make_state inside a checkout of older code: bootstraps its platform and lands a small history with that code.

What an older state does not have yet (a DAG, a helper of its tests) is left out of its history. Its argument is the
number of days; the server is left running, for make_state to dump from. With ``stop`` it stops that server.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ANCHOR = datetime(2026, 10, 31, tzinfo=UTC)
FOLDER = "historical_sales_migration"
SMALL_SHOP = (
    "TRUNCATE shop.ticks, shop.orders, shop.deleted_orders RESTART IDENTITY;"
    " INSERT INTO shop.orders (customer_id, status, amount, currency, placed_at)"
    " SELECT n, 'paid', n, 'EUR', '2026-10-30 12:00+00' FROM generate_series(1, 60) AS n"
)
PLACES = {
    "alerts": "incidents.alerts",
    "backfill": "backfill.requests",
    "bootstrap": "setup.bootstrap",
    "cli": "cli.main",
    "cli_policy": "cli.policy",
    "cli_rollback": "cli.rollback",
    "credentials": "environment.credentials",
    "errors": "model.errors",
    "ledger": "store.ledger",
    "local_environment": "local.environment",
    "local_server": "local.server",
    "publish": "store.publish",
    "settings": "environment.settings",
    "staging": "loading.staging",
    "warehouse": "store.warehouse",
    "windows": "model.windows",
}
"""Where modules lie since there are packages; before that all were modules of ``highwater`` by these names."""
CHANGE_SHOP = "UPDATE shop.orders SET status = 'shipped', amount = amount + 1 WHERE order_id % 9 = 7"


def main(days: int) -> None:
    """Bootstrap, land the last ``days`` days before the anchor, and of every other dataset there is a few windows."""
    engine("local_server").start()
    engine("bootstrap").run()
    land = _land()
    by_dag = _dag() if _engine("local_environment") else None
    for back in range(days, 0, -1):
        start = ANCHOR - timedelta(days=back)
        # One day the whole way, by Airflow; the others by what its tasks call, which takes a tenth of the time.
        if back == 2 and by_dag is not None:
            by_dag(FOLDER, start)
        else:
            land(start)
    _change("UPDATE legacy.sales SET quantity = quantity + 1 WHERE business_date = '2026-10-29' AND quantity > 0")
    land(ANCHOR - timedelta(days=2))
    _fail()
    if by_dag is not None:
        _others(by_dag)
    _ask()


def _others(by_dag: Any) -> None:
    if (engine("settings").ROOT / "dags/incremental_data_processing.py").exists():
        _change(SMALL_SHOP)
        for hour in (10, 11):
            by_dag("incremental_data_processing", ANCHOR + timedelta(hours=hour))
            _change(CHANGE_SHOP)
    if (engine("settings").ROOT / "dags/multi_source_sync.py").exists():
        for back in (8, 7):
            by_dag("multi_source_sync", ANCHOR - timedelta(days=back))
    if batches := _module("batches"):
        for dataset in ("payments", "page_views"):
            for number in range(2):
                batches.land(dataset, batches.window(number))


def _fail() -> None:
    """A stage that is refused its data, and where incidents are known one of it."""
    ledger, errors = engine("ledger"), engine("errors")
    refused_data = getattr(errors, "DataRejected", None) or errors.RefusedData
    window = engine("windows").Window(ANCHOR - timedelta(days=9), ANCHOR - timedelta(days=8))
    with suppress(refused_data), ledger.attempt("daily_sales", window, "audit", ledger.Run(FOLDER, "run b")):
        raise refused_data("suite daily_sales: 1 expectation does not hold")
    if alerts := _engine("alerts"):
        alerts.look()


def _ask() -> None:
    """What people ask for: another policy, windows again, a former version back."""
    if _engine("cli_policy"):
        _type("policy set page_views --max-windows 40 --by ada --reason quiet")
    if backfill := _engine("backfill"):
        first, last = ANCHOR - timedelta(days=20), ANCHOR - timedelta(days=18)
        wanted = backfill.Request("daily_sales", first, last, reason="a till was set wrong", requested_by="ada")
        login = "operator" if "operator" in engine("credentials").LOGINS else "loader"
        with engine("warehouse").session(login) as cursor:
            backfill.request(cursor, wanted)
    if _engine("cli_rollback"):
        _type("rollback daily_sales 2026-10-29 --yes --by ada --reason wrong")


def _type(line: str) -> None:
    engine("cli").app(line.split(), standalone_mode=False)


def _land() -> Any:
    """Lands one day of sales by the code of that state; takes the day's start."""
    if loading := _module("loading"):
        return lambda start: loading.land(loading.day(start.date().isoformat()))

    ledger, publish, staging = engine("ledger"), engine("publish"), engine("staging")
    database = engine("settings").get().sources_database

    def land(start: datetime) -> None:
        window = engine("windows").Window(start, start + timedelta(days=1))
        with closing(engine("warehouse").connect("legacy_reader", database)) as source:
            with engine("warehouse").session("loader") as target, source.cursor() as reader:
                name = staging.new_set("daily_sales", window)
                base = ledger.version(target, "daily_sales", window)
                rows = staging.extract(reader, target, FOLDER, name, window)
            with engine("warehouse").session("loader") as target:
                cleaned = staging.clean(target, FOLDER, name, "daily_sales", window)
        staged = publish.Staged(name, rows, base, "snapshot")
        staged = replace(staged, deduplicated=cleaned.rows_deduplicated, rejected=cleaned.rows_rejected)
        publish.publish_window("daily_sales", window, staged, ledger.Run(FOLDER, "run a"))

    return land


def _dag() -> Any:
    """Runs a DAG of that state for a logical date, by real Airflow in this process, as its tests do."""
    os.environ.update(engine("local_environment").environment(port=1))
    (engine("settings").get().home / "airflow").mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, stdout=subprocess.DEVNULL)

    def run(dag_id: str, logical_date: datetime) -> None:
        from airflow import settings as airflow_settings
        from airflow.dag_processing.dagbag import DagBag

        file = engine("settings").ROOT / f"dags/{dag_id}.py"
        bag = DagBag(dag_folder=file, bundle_path=file.parent, bundle_name="dags-folder")
        if bag.import_errors:
            raise SystemExit(f"{file} does not import: {bag.import_errors}")
        dag = bag.dags[dag_id]
        for task in dag.tasks:
            task.retries = 0
        state = dag.test(logical_date=logical_date).state
        if airflow_settings.Session is not None:
            airflow_settings.Session.remove()
        sys.stderr.write(f"{dag_id} {logical_date:%F %H:%M}: {state}\n")

    return run


def _change(statement: str) -> None:
    with engine("warehouse").session("simulator", engine("settings").get().sources_database) as cursor:
        cursor.execute(statement)


def engine(name: str) -> Any:
    """The engine's module that had this name before there were packages."""
    found = _engine(name)
    if found is None:
        raise SystemExit(f"this code has no module {name}")
    return found


def _engine(name: str) -> Any:
    return _module(f"highwater.{PLACES[name]}") or _module(f"highwater.{name}")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        return None


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd() / "tests"))
    if sys.argv[1] == "stop":
        engine("local_server").stop()
    else:
        main(int(sys.argv[1]))
