"""The schedule of a DAG that loads a dataset: a cron with real data intervals, filtered by the dataset's policy.

Airflow asks for the next run when a DAG file is parsed, when a run was created, and when a native backfill is planned.
The answer comes from memory (`highwater.policy.reader`), never from a database.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from pendulum import instance

from highwater.model import clock
from highwater.model.policy import Policy, Verdict
from highwater.model.windows import window_of
from highwater.policy import reader

if TYPE_CHECKING:
    from pendulum import DateTime

MOST_JUMPS = 1000
"""Number of unwanted ranges skipped in one call; a schedule without a wanted window after them has no next run."""


class PolicyTimetable(CronDataIntervalTimetable):
    """Runs of ``cron`` (UTC) for only those windows of ``dataset`` that its policy wants.

    A run loads the window that contains its logical date. While catch-up is off, missed windows are left out except the
    newest, as with Airflow's ``catchup=False``; a native backfill, which a user requests, includes them.
    """

    def __init__(self, cron: str, dataset: str) -> None:
        super().__init__(cron, timezone="UTC")
        self.dataset = dataset

    def serialize(self) -> dict[str, Any]:
        return {"expression": self._expression, "dataset": self.dataset}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> PolicyTimetable:
        return cls(data["expression"], data["dataset"])

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run that the policy wants; None if there is no next run."""
        info = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        if info is None or info.data_interval is None:
            return None
        policy, now = reader.of(self.dataset), clock.now()
        start: DateTime | None = info.data_interval.start
        if policy is not None:
            # Only a native backfill and a DAG with an end date set `latest`.
            if not policy.is_on and restriction.latest is None:
                start = max(info.data_interval.start, self._newest(now))
            start = self._wanted_from(start, policy, now)
        if start is None or (restriction.latest is not None and start > restriction.latest):
            return None
        return _run(start, self._get_next(start), now)

    def _newest(self, now: datetime) -> DateTime:
        """The start of the newest interval that has ended."""
        return self._get_prev(self._align_to_prev(instance(now)))

    def _wanted_from(self, start: DateTime | None, policy: Policy, now: datetime) -> DateTime | None:
        """The first tick from ``start`` on whose window is wanted."""
        for _jump in range(MOST_JUMPS):
            verdict = _verdict(start, policy, now)
            if start is None or verdict is None:
                return start
            start = self._align_to_next(instance(verdict.until))
        return None


def _verdict(start: DateTime | None, policy: Policy, now: datetime) -> Verdict | None:
    """The policy's verdict on the window of a tick; None before the first window."""
    if start is None or start < policy.grid.first:
        return None
    moment = datetime.fromtimestamp(start.timestamp(), UTC)
    return policy.verdict(window_of(moment, policy.grid), now)


def _run(start: DateTime, end: DateTime, now: datetime) -> DagRunInfo:
    """The run of an interval, due by Airflow's own clock, which may differ from ours."""
    run_after = end
    if clock.frozen() and end > now:
        run_after = end + (datetime.now(UTC) - now)
    return DagRunInfo(
        run_after=run_after, data_interval=DataInterval(start, end), partition_date=None, partition_key=None
    )
