"""What is struck, and when: worked out from the seed alone, so that a schedule can be played again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from highwater.model.errors import ConfigurationError

EPOCH = datetime(2025, 1, 1, 2, 30, tzinfo=UTC)
"""When the stretch of seed 0 begins. It lies behind the real clock, so that Airflow takes all that is due at once."""
STRETCH = timedelta(hours=6)
"""So far the clock is moved on by a seed. Every fourth stretch is a night: then every DAG has something due."""
NIGHT = 3
"""The place of the night among the stretches of a day."""
MOST_STRIKES = 3
MOST_BYSTANDERS = 2

SOURCES, SOURCES_AT_NIGHT = ("billing", "web", "shop"), ("legacy", "store", "partner")
DRIPPING, DRIPPING_AT_NIGHT = ("billing.payments", "web.page_views"), ("legacy.sales", "store.sales", "partner.orders")
HELD = (
    "ops.validation_results",
    "ops.processing_summary",
    "ops.checkpoints",
    "ops.alerts",
    "quarantine.rejected_rows",
    "sales.payments",
    "sales.page_views",
    "sales.orders",
)
HELD_AT_NIGHT = ("sales.daily_sales", "sales.store_sales", "sales.channel_sales")
"""Tables that stages need: held, a task waits for one and can be killed in the middle."""
RESTORE = "restore source"
RESTORED = (
    "shop before identify_changes",
    "shop before process_changes",
    "shop before validate_consistency",
    "sources before identify_changes",
    "sources before update_checkpoint",
)
"""What is put back, one source or the database of all, and at which stage a run that loads orders is by then."""
JUMPS = ("25 minutes", "-25 minutes", "-3 hours", "-2 days", "-400 days")

NOTHING = ("",)
KINDS: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "kill task": (4, HELD, HELD_AT_NIGHT),
    "kill scheduler": (2, NOTHING, ()),
    "kill triggerer": (1, NOTHING, ()),
    "kill dag-processor": (1, NOTHING, ()),
    "kill postgres": (2, NOTHING, ()),
    "source away": (3, SOURCES, SOURCES_AT_NIGHT),
    RESTORE: (3, RESTORED, ()),
    "source slow": (2, DRIPPING, DRIPPING_AT_NIGHT),
    "source cut": (3, DRIPPING, DRIPPING_AT_NIGHT),
    "disk full": (2, NOTHING, ()),
    "two schedulers": (1, NOTHING, ()),
    "clock jumps": (2, JUMPS, ()),
}
"""Each kind of fault: its weight, what it may be done to, and what more at night."""
LATEST = {"source away": 2, "source slow": 2, "source cut": 2, "disk full": 6}
"""Up to which attempt of the stretch a fault may come, where not up to `LATEST_OTHERS`: sources are read early."""
LATEST_OTHERS = 14
AT_NIGHT = 2
"""Factor by which more attempts are made at night."""
BYSTANDERS = ("incident_watch", "catchup_control", "simulated_sources", "selective_backfill")
"""DAGs that have nothing due by the clock that is moved: some are started beside the others."""
RELOADED = ("daily_sales", "payments", "store_sales")


@dataclass(frozen=True)
class Strike:
    """One fault: what, on what, and how many attempts of the stretch have begun by then."""

    kind: str
    target: str
    at: int

    def __str__(self) -> str:
        return f"{self.kind}{f' ({self.target})' if self.target else ''} at {self.at}"


@dataclass(frozen=True)
class Schedule:
    """All that is done in the stretch of a seed."""

    seed: int
    strikes: tuple[Strike, ...]
    bystanders: tuple[str, ...]
    reloaded: str
    fault: str | None = None
    """The kind of fault that was asked for beside the dice; None if none was."""

    @property
    def begin(self) -> datetime:
        """What the clock says before."""
        return EPOCH + self.seed * STRETCH

    @property
    def end(self) -> datetime:
        """What the clock is moved to."""
        return self.begin + STRETCH

    def __str__(self) -> str:
        asked = f" with {self.fault}" if self.fault else ""
        return f"seed {self.seed}{asked}: " + ", ".join(map(str, [*self.strikes, *self.bystanders]))


def of(seed: int, fault: str | None = None) -> Schedule:
    """The schedule of a seed; with a kind of fault, one whose first throw is that kind.

    Raises:
        ConfigurationError: there is no such kind of fault.
    """
    if fault is not None and fault not in KINDS:
        raise ConfigurationError(f"invalid --fault {fault!r}: expected one of {', '.join(KINDS)}")
    dice = random.Random(seed)  # noqa: S311 - it must be the same again
    night = seed % 4 == NIGHT
    kinds, weights = list(KINDS), [weight for weight, *_ in KINDS.values()]
    strikes = []
    thrown = dice.choices(kinds, weights, k=dice.randint(1, MOST_STRIKES))
    for kind in [fault, *thrown[1:]] if fault else thrown:
        _, targets, at_night = KINDS[kind]
        target = dice.choice(targets + at_night if night else targets)
        latest = LATEST.get(kind, LATEST_OTHERS) * (AT_NIGHT if night else 1)
        strikes.append(Strike(kind, target, dice.randint(0, latest)))
    bystanders = dice.sample(BYSTANDERS, dice.randint(0, MOST_BYSTANDERS))
    return Schedule(
        seed, tuple(sorted(strikes, key=lambda strike: strike.at)), tuple(bystanders), dice.choice(RELOADED), fault
    )
