"""The faults of the sources: one goes away, is slow, breaks off, or is put back to an older state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from chaos.datasets import ORDERS, ORDERS_DAG
from chaos.felt import MISSED, Felt
from chaos.platform import Platform, Restored
from highwater.environment import settings
from highwater.model.errors import HighwaterError
from highwater.store import warehouse
from simulation import batches, channels, outages, sales

SECONDS_A_ROW = {
    "legacy.sales": 0.002,
    "billing.payments": 0.05,
    "web.page_views": 0.005,
    "store.sales": 0.004,
    "partner.orders": 0.02,
}
"""So slowly a source is read: half a second and more for what a window has of it."""
DRIP = """
CREATE SCHEMA IF NOT EXISTS chaos;
GRANT USAGE ON SCHEMA chaos TO PUBLIC;
CREATE OR REPLACE FUNCTION chaos.drip(seconds float8) RETURNS boolean LANGUAGE plpgsql VOLATILE AS
$$ BEGIN PERFORM pg_sleep(seconds); RETURN true; END $$;
"""
STAGES = ("determine_mode", "identify_changes", "process_changes", "update_checkpoint", "validate_consistency")
"""The tasks of a run that loads the orders, in their order."""
ALL_SOURCES = "sources"
"""The target that is the whole database; another one is the schema of a source."""


def source_away(platform: Platform, source: str, _felt: Felt) -> str:
    """The source refuses its reader, and ends its sessions, until an attempt or a check has found it away."""
    query = (
        "SELECT FROM ops.attempts WHERE attempt_id > %(attempt)s AND error_kind = 'source unavailable'"
        " AND source = %(source)s"
        " UNION ALL SELECT FROM ops.source_checks WHERE check_id > %(check)s AND source = %(source)s AND NOT reachable"
        " UNION ALL SELECT FROM ops.health_checks WHERE check_id > %(health)s AND check_name = 'source ' || %(source)s"
        " AND verdict = 'unwell'"
    )
    marks = {
        "source": source,
        "attempt": platform.last_attempt(),
        "check": platform.value("SELECT coalesce(max(check_id), 0) FROM ops.source_checks"),
        "health": platform.value("SELECT coalesce(max(check_id), 0) FROM ops.health_checks"),
    }
    with _away(platform, source):
        found = platform.until(lambda: platform.rows(query, marks))
    return "found away" if found else MISSED


def source_slow(platform: Platform, table: str, _felt: Felt) -> str:
    """Each row of the source takes its time, until one COPY of it has come to its end."""
    with _dripping(table):
        seen = platform.until(lambda: _copying(platform, table))
        if seen:
            platform.until(lambda: not set(_copying(platform, table)) & set(seen))
    return "read slowly" if seen else MISSED


def source_cut(platform: Platform, table: str, _felt: Felt) -> str:
    """The source ends a session in the middle of its COPY."""
    with _dripping(table):
        seen = platform.until(lambda: _copying(platform, table))
        if seen:
            platform.rows("SELECT pg_terminate_backend(%s)", (seen[0],), "postgres")
    return "cut in the middle of a COPY" if seen else MISSED


def restore_source(platform: Platform, target: str, felt: Felt) -> str:
    """A source is put back to the backup from before the stretch, while a run that loads orders is under way.

    By then newer orders have landed than the backup holds. The shop stays as old as that until the next stretch; of the
    other sources what has come since the backup comes again.
    """
    assert felt.backup is not None
    what, stage = target.split(" before ")
    backup = felt.backup
    # One that landed in no time after another has a watermark of a microsecond more.
    landed = "SELECT FROM ops.checkpoints WHERE dataset = %s AND watermark > %s + interval '1 hour'"
    if not platform.until(lambda: platform.rows(landed, (ORDERS, backup.taken_at))):
        return MISSED
    if what == ALL_SOURCES:
        backup.prepare_database()
    platform.trigger(ORDERS_DAG)
    run = platform.until(lambda: _waiting_before(platform, stage))
    if not run:
        return MISSED
    if what == ALL_SOURCES:
        backup.swap_database()
        for source in (sales, batches, channels):
            source.advance(platform.now)
    else:
        backup.restore_schema(what)
    since = min(backup.taken_at, platform.restored.since) if platform.restored else backup.taken_at
    platform.restored = Restored(platform.last_attempt(), since)
    begun = platform.rows("SELECT FROM ops.attempts WHERE run_id = %s AND stage = %s", (run, stage))
    return f"put back {'in the middle of' if begun else 'before'} {stage}"


@contextmanager
def _away(platform: Platform, source: str) -> Iterator[None]:
    """The reader of a source may not log in, and those that are there are cut off."""
    if source in ("store", "partner", "supplier"):
        outages.start(source, platform.now, None, "a strike", "chaos")
        try:
            yield
        finally:
            with suppress(HighwaterError):
                outages.stop(source, platform.now, "chaos")
    else:
        reader = f"{source}_reader"
        platform.rows(f"ALTER ROLE {reader} NOLOGIN", role="postgres")
        platform.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (reader,), "postgres"
        )
        try:
            yield
        finally:
            platform.rows(f"ALTER ROLE {reader} LOGIN", role="postgres")


@contextmanager
def _dripping(table: str) -> Iterator[None]:
    """Each row of a source's table takes its time to be read: a policy of row level security sees to it."""
    database = settings.get().sources_database

    def change(statements: str) -> None:
        with warehouse.session("postgres", database) as cursor:
            cursor.execute(statements)

    change(DRIP)
    change(
        f"DROP POLICY IF EXISTS drip ON {table};"
        f" CREATE POLICY drip ON {table} FOR SELECT USING (chaos.drip({SECONDS_A_ROW[table]}));"
        f" ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    )
    try:
        yield
    finally:
        change(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY; DROP POLICY IF EXISTS drip ON {table}")


def _copying(platform: Platform, table: str) -> list[int]:
    """The sessions of the table's reader that are in the middle of a COPY."""
    found: list[Any] = platform.rows(
        "SELECT pid FROM pg_stat_activity WHERE usename = %s AND state = 'active' AND wait_event = 'PgSleep'"
        " AND query ~ '^COPY' AND query_start < clock_timestamp() - interval '20 milliseconds' ORDER BY pid",
        (f"{table.split('.', maxsplit=1)[0]}_reader",),
        "postgres",
    )
    return [row[0] for row in found]


def _waiting_before(platform: Platform, stage: str) -> str | None:
    """The run that loads orders whose next task is that stage and has not begun; None without such a run."""
    found = platform.metadata(
        "SELECT r.run_id FROM dag_run AS r INNER JOIN task_instance AS done USING (dag_id, run_id)"
        " INNER JOIN task_instance AS following USING (dag_id, run_id)"
        " WHERE r.dag_id = %s AND r.state = 'running' AND done.task_id = %s AND done.state = 'success'"
        " AND following.task_id = %s AND coalesce(following.state, '') IN ('', 'scheduled', 'queued')",
        (ORDERS_DAG, STAGES[STAGES.index(stage) - 1], stage),
    )
    return found[0].run_id if found else None
