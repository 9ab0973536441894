"""What must hold after a stretch, whatever was struck: each check by itself, with what it saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from chaos import datasets
from chaos.datasets import DATASETS, MADE_OF_PUBLISHED, ORDERS
from chaos.reader import Reads
from highwater.loading import stages
from highwater.model.windows import Window
from highwater.store import ledger, warehouse

MOST = 5
"""Number of findings that are named."""


@dataclass(frozen=True)
class Finding:
    """What a check came to: what it saw, and what of it is wrong."""

    name: str
    saw: str
    wrong: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def __str__(self) -> str:
        more = f" and {len(self.wrong) - MOST} more" if len(self.wrong) > MOST else ""
        return f"{self.name}: {'; '.join(self.wrong[:MOST]) + more if self.wrong else self.saw}"


@dataclass
class Stretch:
    """What is checked: what happened since these numbers, and what was heard and read meanwhile."""

    attempt: int = 0
    incident: int = 0
    taken: Sequence[str] = ()
    """The ids of the messages that the receiver took since the platform began."""
    taken_before: int = 0
    """Number of them before the stretch."""
    reads: Reads = field(default_factory=Reads)
    strikes: int = 0
    restored_to: datetime | None = None
    """From when the oldest backup is that a source was put back to since the platform began; None if none was."""
    senders_killed: int = 0
    """Number of killed processes that may have been about to record a delivered message."""


@dataclass(frozen=True)
class Landed:
    """A ledger row of a dataset with windows of a fixed grid."""

    dataset: datasets.Dataset
    window: Window
    rows: int
    quarantined: int
    content_hash: str

    def __str__(self) -> str:
        return f"{self.dataset.name} {self.window}"


def check(stretch: Stretch) -> list[Finding]:
    """Make every check."""
    with warehouse.session("postgres") as cursor:
        return [look(cursor, stretch) for look in CHECKS]


def no_gap(cursor: Cursor, _stretch: Stretch) -> Finding:
    """Every due window landed, or a rule of the policy or of its source says why not.

    Worked out from the grid and the ledger, and asked of ``ops.gaps``, which should say the same.
    """
    cursor.execute(
        """
        SELECT d.dataset, tstzrange(begun, begun + d.step) AS window_range,
            EXISTS (SELECT FROM ops.window_ledger AS l WHERE l.dataset = d.dataset
                AND l.window_range @> tstzrange(begun, begun + d.step)) AS landed,
            coalesce(
                (SELECT s.rule || ': ' || s.reason FROM ops.skipped_windows AS s
                    WHERE s.dataset = d.dataset AND s.window_range = tstzrange(begun, begun + d.step)),
                (SELECT v.rule || ': ' || v.reason
                    FROM control.policy_verdict(d.dataset, tstzrange(begun, begun + d.step), ops.clock()) AS v)
            ) AS reason
        FROM control.datasets AS d
        CROSS JOIN LATERAL generate_series(
            d.first_window, control.due_until(d, ops.clock()) - d.step, d.step
        ) AS begun
        WHERE d.grid = 'fixed'
        """
    )
    due = warehouse.fetch_all(cursor)
    missing = [f"{row.dataset} {row.window_range}" for row in due if not row.landed and not row.reason]
    cursor.execute("SELECT dataset, window_range FROM ops.gaps")
    gaps = [f"ops.gaps: {row.dataset} {row.window_range}" for row in warehouse.fetch_all(cursor)]
    explained = sum(not row.landed and bool(row.reason) for row in due)
    return Finding("no gap", f"{len(due)} due windows, {explained} of them explained", tuple(missing + gaps))


def no_overlap(cursor: Cursor, _stretch: Stretch) -> Finding:
    """No moment of a dataset lies in two windows; those of the orders follow one another without a hole."""
    cursor.execute(
        "SELECT dataset, window_range,"
        " lag(upper(window_range)) OVER (PARTITION BY dataset ORDER BY window_range) AS before FROM ops.window_ledger"
    )
    rows = warehouse.fetch_all(cursor)
    wrong = [
        f"{row.dataset} {row.window_range} after {row.before}"
        for row in rows
        if row.before
        and (row.before > row.window_range.lower or (row.dataset == ORDERS and row.before != row.window_range.lower))
    ]
    return Finding("no overlap", f"{len(rows)} windows", tuple(wrong))


def same_content(cursor: Cursor, stretch: Stretch) -> Finding:
    """What is published of each window that was worked on is what an undisturbed run makes of its source."""
    wrong = []
    landed = worked_on(cursor, stretch)
    for each in landed:
        should = datasets.undisturbed(each.dataset, each.window)
        found = _content(cursor, each)
        if not found == each.content_hash == should:
            wrong.append(f"{each}: published {found}, ledger {each.content_hash}, undisturbed {should}")
    orders, unequal = datasets.differing_orders(stretch.restored_to)
    if unequal:
        wrong.append(f"{unequal} of {orders} orders differ from what a full run makes of the shop")
    return Finding("same content", f"{len(landed)} windows, {orders} orders", tuple(wrong))


def ledger_agrees(cursor: Cursor, stretch: Stretch) -> Finding:
    """The ledger accounts for every partition, published row and quarantined row, and the checkpoint for the orders."""
    wrong = []
    warehouse.run_file(cursor, "ops/ledger_inconsistent.sql")
    if (row := warehouse.fetch(cursor)) is not None:
        wrong.append(row.problem)
    landed = worked_on(cursor, stretch)
    for each in landed:
        published = _count(cursor, each)
        if published != each.rows:
            wrong.append(f"{each}: {each.rows} rows by the ledger, {published} published")
    cursor.execute(
        "SELECT l.dataset, l.window_range, l.rows_quarantined, q.found FROM ops.window_ledger AS l CROSS JOIN LATERAL ("
        "SELECT count(*) AS found FROM quarantine.rejected_rows AS q"
        " WHERE q.dataset = l.dataset AND q.window_range = l.window_range) AS q WHERE q.found <> l.rows_quarantined"
    )
    for row in warehouse.fetch_all(cursor):
        wrong.append(f"{row.dataset} {row.window_range}: {row.rows_quarantined} in quarantine, but {row.found} are")
    cursor.execute(
        "SELECT c.watermark = upper(l.window_range) AS watermark,"
        " c.source_snapshot::text = l.source_snapshot AS snapshot,"
        " c.live_rows = (SELECT count(*) FROM sales.orders WHERE deleted_at IS NULL) AS live_rows"
        " FROM ops.checkpoints AS c LEFT JOIN LATERAL (SELECT * FROM ops.window_ledger AS w WHERE w.dataset = c.dataset"
        " ORDER BY window_range DESC LIMIT 1) AS l ON true WHERE c.dataset = %s",
        (ORDERS,),
    )
    for row in warehouse.fetch_all(cursor):
        wrong += [
            f"the checkpoint's {name} is not that of ledger and data"
            for name, same in row._asdict().items()
            if not same
        ]
    return Finding("ledger agrees", f"{len(landed)} windows, all of the quarantine, the checkpoint", tuple(wrong))


def suite_holds(cursor: Cursor, stretch: Stretch) -> Finding:
    """Every published row of a window that was worked on passes its suite; a synchronised day passed its comparison."""
    from highwater.quality import audits

    wrong = []
    landed = worked_on(cursor, stretch)
    for each in landed:
        if each.dataset.suite is None:
            cursor.execute(
                "SELECT count(*) AS audits,"
                " count(*) FILTER (WHERE verdict = 'failed' AND severity = 'critical') AS failed"
                " FROM ops.validation_results AS v INNER JOIN ops.window_ledger AS l USING (dataset, window_range)"
                " WHERE dataset = %s AND window_range = %s AND v.run_id = l.run_id",
                (each.dataset.name, ledger.as_range(each.window)),
            )
            row = warehouse.fetch(cursor)
            if not row.audits or row.failed:
                wrong.append(f"{each} was published with {row.audits} findings, {row.failed} of them failed")
            continue
        with _copied(each) as table:
            report = audits.audit(each.dataset.suite, "staging", table, stages.audit_parameters(each.window, each.rows))
        if not report.success:
            wrong.append(f"{each}: {report.sentence()}")
    report = audits.audit("orders", "sales", "orders", {})
    if not report.success:
        wrong.append(f"orders: {report.sentence()}")
    return Finding("suite holds", f"{len(landed)} windows and the orders", tuple(wrong))


def no_torn_read(cursor: Cursor, stretch: Stretch) -> Finding:
    """Readers saw of each window the whole content of the version that the ledger named, or nothing."""
    wrong = list(stretch.reads.torn)
    for dataset, begun, content in sorted(stretch.reads.unknown):
        cursor.execute(
            "SELECT FROM ops.versions WHERE dataset = %s AND lower(window_range) = %s::timestamptz"
            " AND content_hash = %s",
            (dataset, begun, content),
        )
        if cursor.fetchone() is None:
            wrong.append(f"{dataset} {begun}: content {content} was no version of it")
    if not stretch.reads.count:
        wrong.append("nobody has read")
    return Finding("no torn read", f"{stretch.reads.count} reads of {stretch.reads.windows} windows", tuple(wrong))


def one_message(cursor: Cursor, stretch: Stretch) -> Finding:
    """Each opening, escalation and end of an incident was reported once, in a message that came once.

    A message may come again for each process that was killed and may have been between the receiver's yes and writing
    it down. No trouble was opened more often than something was struck.
    """
    cursor.execute("SELECT alert_id::text, incident_id, event FROM ops.alerts")
    known = {row.alert_id: (row.incident_id, row.event) for row in warehouse.fetch_all(cursor)}
    taken = Counter(stretch.taken)
    wrong = [f"message {each} is of no incident" for each in taken if each not in known]
    wrong += [f"incident {known[each][0]}, {known[each][1]}, was not reported" for each in known if each not in taken]
    of_stretch = Counter(stretch.taken[stretch.taken_before :])
    again = {each: taken[each] - 1 for each in of_stretch if taken[each] > 1}
    if sum(again.values()) > stretch.senders_killed:
        wrong.append(
            f"{sum(again.values())} messages came again, {stretch.senders_killed} senders were killed: {again}"
        )
    cursor.execute(
        "SELECT i.incident_id, i.kind, i.subject, i.closed_at IS NULL AS is_open,"
        " array_agg(a.event ORDER BY a.event) FILTER (WHERE a.event IS NOT NULL) AS events,"
        " EXISTS (SELECT FROM ops.current_troubles AS t WHERE t.kind = i.kind AND t.subject = i.subject) AS lasts"
        " FROM ops.incidents AS i LEFT JOIN ops.alerts AS a USING (incident_id) WHERE i.incident_id > %s"
        " GROUP BY i.incident_id",
        (stretch.incident,),
    )
    incidents = warehouse.fetch_all(cursor)
    for row in incidents:
        sent = Counter(row.events or [])
        if sent - Counter(["escalated"]) != Counter(["opened"] if row.is_open else ["opened", "closed"]):
            wrong.append(f"incident {row.incident_id}, {row.subject}: {row.kind}, was reported as {dict(sent)}")
        if row.is_open and not row.lasts:
            wrong.append(f"incident {row.incident_id}, {row.subject}: {row.kind}, is open, but its trouble is over")
    for trouble, times in Counter((row.kind, row.subject) for row in incidents).items():
        # The stretch itself makes data older by six hours.
        if times > max(1, stretch.strikes) + (trouble[0] == "freshness exceeded"):
            wrong.append(f"{trouble[1]}: {trouble[0]} was opened {times} times by {stretch.strikes} strikes")
    return Finding(
        "one message an incident",
        f"{len(incidents)} incidents, {sum(of_stretch.values())} messages, {sum(again.values())} of them again",
        tuple(wrong),
    )


def nothing_staged(cursor: Cursor, _stretch: Stretch) -> Finding:
    """Nothing is left in staging, but for sets that a rule refused: a person may want to list their rows."""
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'staging' ORDER BY 1")
    tables = [row[0] for row in cursor.fetchall()]
    cursor.execute(
        "SELECT s.set_name || '_' FROM ops.staging_sets AS s INNER JOIN ("
        "SELECT DISTINCT ON (dataset, window_range) dataset, window_range, error_kind FROM ops.attempts"
        " ORDER BY dataset, window_range, attempt_id DESC) AS latest USING (dataset, window_range)"
        " WHERE latest.error_kind IN ('data rejected', 'audit failed')"
    )
    refused = tuple(row[0] for row in cursor.fetchall())
    left = [table for table in tables if not (refused and table.startswith(refused))]
    return Finding(
        "nothing staged", f"{len(tables)} tables, all of refused sets" if tables else "no table", tuple(left)
    )


CHECKS: tuple[Callable[[Cursor, Stretch], Finding], ...] = (
    no_gap,
    no_overlap,
    same_content,
    ledger_agrees,
    suite_holds,
    no_torn_read,
    one_message,
    nothing_staged,
)


def worked_on(cursor: Cursor, stretch: Stretch) -> list[Landed]:
    """The landed windows of fixed grids that an attempt of the stretch was about, those made of others last."""
    cursor.execute(
        "SELECT dataset, lower(window_range), upper(window_range), rows_published, rows_quarantined, content_hash"
        " FROM ops.window_ledger WHERE dataset = ANY(%s) AND (dataset, window_range) IN"
        " (SELECT dataset, window_range FROM ops.attempts WHERE attempt_id > %s) ORDER BY dataset = %s, 1, 2",
        (list(DATASETS), stretch.attempt, MADE_OF_PUBLISHED),
    )
    return [
        Landed(DATASETS[dataset], Window(start, end), rows, quarantined, content)
        for dataset, start, end, rows, quarantined, content in cursor.fetchall()
    ]


def _content(cursor: Cursor, each: Landed) -> Any:
    cursor.execute(
        "SELECT c.content_hash FROM ops.partition_of(%s::regclass, %s) AS p CROSS JOIN ops.table_content(p) AS c"
        " WHERE p IS NOT NULL",
        (each.dataset.table, ledger.as_range(each.window)),
    )
    return warehouse.fetch_value(cursor) if cursor.rowcount else "nothing"


@contextmanager
def _copied(each: Landed) -> Iterator[str]:
    """What readers see of a window as a table of its own for the length of the block: the suites are about windows."""
    table = f"chaos__{each.dataset.name}"
    with warehouse.autocommitting("postgres") as cursor:
        cursor.execute(
            sql.SQL("CREATE TABLE {} AS SELECT * FROM {} WHERE {moment} >= %s AND {moment} < %s").format(
                sql.Identifier("staging", table),
                sql.Identifier("sales", each.dataset.name),
                moment=sql.Identifier(each.dataset.moment),
            ),
            (each.window.start, each.window.end),
        )
        cursor.execute(sql.SQL("GRANT SELECT ON {} TO loader").format(sql.Identifier("staging", table)))
        try:
            yield table
        finally:
            cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("staging", table)))


def _count(cursor: Cursor, each: Landed) -> int:
    cursor.execute(
        sql.SQL("SELECT count(*) FROM {} WHERE {moment} >= %s AND {moment} < %s").format(
            sql.Identifier("sales", each.dataset.name), moment=sql.Identifier(each.dataset.moment)
        ),
        (each.window.start, each.window.end),
    )
    return int(warehouse.fetch_value(cursor))
