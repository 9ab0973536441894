"""Whatever is done to windows of whatever dataset, in whatever order: the ledger and what is published agree."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta

import pytest
import tables
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg2.errors import CheckViolation
from tables import RUN, defined
from typer.testing import CliRunner

from highwater.cli.main import app
from highwater.model.errors import ConfigurationError, DataRejected
from highwater.model.windows import Window
from highwater.store import holds, publish, rollback, warehouse
from highwater.store.publish import Staged

pytestmark = pytest.mark.usefixtures("empty_warehouse")
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)
STEPS = st.one_of(
    st.integers(1, 90).map(lambda n: timedelta(minutes=n)), st.sampled_from([timedelta(days=1), timedelta(days=7)])
)
LONGEST_DATASET = 30
WINDOWS = st.integers(0, 3)
COUNTS = st.integers(0, 6)


class Windows(RuleBasedStateMachine):
    """A dataset of random name and step, its first windows, and what people and runs do to them."""

    sets = Bundle("sets")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.expected: dict[int, list[int]] = {}

    @initialize(name=NAMES, table=NAMES, step=STEPS)
    def define(self, name: str, table: str, step: timedelta) -> None:
        definition = {"table": f"sales.{table}", "step": f"{step.total_seconds()} seconds"}
        try:
            self.table = self.stack.enter_context(defined(name, **definition))
        except CheckViolation:
            assert len(name) > LONGEST_DATASET
            name = name[:LONGEST_DATASET]
            self.table = self.stack.enter_context(defined(name, **definition))
        self.dataset, self.step = name, step
        with warehouse.session("postgres") as cursor:
            cursor.execute("UPDATE control.datasets SET on_shrink = 'accept' WHERE dataset = %s", (name,))

    def window(self, number: int) -> Window:
        return tables.window(number, self.step)

    @rule(target=sets, number=WINDOWS, count=COUNTS)
    def stage(self, number: int, count: int) -> tuple[int, int, Staged]:
        return number, count, tables.stage(self.dataset, self.window(number), count)

    @rule(staged=sets)
    def publish(self, staged: tuple[int, int, Staged]) -> None:
        number, count, made = staged
        try:
            landed = publish.publish_window(self.dataset, self.window(number), made, RUN)
        except DataRejected:
            return
        if landed.outcome == "published":
            self.expected.setdefault(number, []).append(count)

    @rule(number=WINDOWS, count=COUNTS)
    def land(self, number: int, count: int) -> None:
        self.publish((number, count, tables.stage(self.dataset, self.window(number), count)))

    @rule(staged=sets)
    def cancel(self, staged: tuple[int, int, Staged]) -> None:
        with warehouse.session("postgres") as cursor:
            cursor.execute("SELECT ops.drop_set(%s)", (staged[2].name,))

    @rule(number=WINDOWS)
    def roll_back(self, number: int) -> None:
        try:
            plan = rollback.plan(
                self.dataset, f"{self.window(number).start.isoformat()}/{self.window(number).end.isoformat()}"
            )
        except (DataRejected, ConfigurationError):
            return
        rollback.carry_out(plan, "ada", "why")
        self.expected[number].append(plan.former.rows_published)

    @rule(number=WINDOWS)
    def release(self, number: int) -> None:
        window = self.window(number)
        holds.release(holds.plan(self.dataset, window.start, window.end), "ada", "fixed")

    @rule(number=WINDOWS, length=st.integers(1, 3))
    def skip(self, number: int, length: int) -> None:
        wanted = Window(self.window(number).start, self.window(number + length - 1).end)
        try:
            skipped = publish.skip_window(self.dataset, wanted, "rule", "reason", RUN)
        except DataRejected:
            return
        assert length == 1 and (not skipped or number not in self.expected)

    @rule(keep=st.integers(0, 1))
    def prune(self, keep: int) -> None:
        with warehouse.session("postgres") as cursor:
            cursor.execute(
                "UPDATE ops.former_versions SET replaced_at = replaced_at - make_interval(days => %s)", (8 * keep,)
            )
        rollback.prune()

    @rule(number=WINDOWS)
    def lose_the_partition(self, number: int) -> None:
        """By hand: a load brings it back."""
        if number not in self.expected:
            return
        with warehouse.session("postgres") as cursor:
            cursor.execute(
                "SELECT ops.partition_of(published_table::regclass, tstzrange(%s, %s))::text FROM control.datasets"
                " WHERE dataset = %s",
                (self.window(number).start, self.window(number).end, self.dataset),
            )
            cursor.execute(f"DROP TABLE {warehouse.fetch_value(cursor)}")
        self.release(number)
        count = self.expected[number][-1]
        assert tables.land(self.dataset, self.window(number), count).outcome == "published"
        self.expected[number].append(count)

    @invariant()
    def ledger_and_rows_agree(self) -> None:
        if not hasattr(self, "table"):
            return
        with warehouse.session("postgres") as cursor:
            cursor.execute(
                "SELECT ops.verify_window(dataset, window_range) FROM ops.window_ledger WHERE dataset = %s",
                (self.dataset,),
            )
            assert {row[0] for row in cursor.fetchall()} <= {None}
            cursor.execute("SELECT ops.unaccounted_partitions(%s)", (self.dataset,))
            assert cursor.fetchall() == []
            cursor.execute(
                "SELECT rows_published FROM ops.window_ledger WHERE dataset = %s ORDER BY window_range", (self.dataset,)
            )
            assert [row[0] for row in cursor.fetchall()] == [self.expected[n][-1] for n in sorted(self.expected)]
            schema, plain = self.table.split(".")
            cursor.execute(f'SELECT count(*) AS n FROM {schema}."{plain}"')
            assert warehouse.fetch_value(cursor) == sum(counts[-1] for counts in self.expected.values())

    def teardown(self) -> None:
        try:
            if hasattr(self, "table"):
                answer = CliRunner().invoke(app, ["verify", self.dataset])
                assert answer.exit_code == 0, answer.stdout
        finally:
            self.stack.close()


def test_any_sequence_of_steps_leaves_ledger_and_data_agreeing() -> None:
    run_state_machine_as_test(
        Windows,
        settings=settings(
            max_examples=20,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            print_blob=True,
        ),
    )
