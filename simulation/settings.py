"""Settings of the simulated company, from the same environment and files as those of the engine."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from highwater.environment import settings as engine


class Settings(BaseSettings):
    """All settings of the simulation; the alias of a field is its name in the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    history_days: int = Field(default=30, ge=1, le=3660, validation_alias="HIGHWATER_HISTORY_DAYS")
    """Days before the anchor at which the history of sales begins."""
    channel_days: int = Field(default=14, ge=1, le=3660, validation_alias="HIGHWATER_CHANNEL_DAYS")
    """Days before the anchor at which the history of the channels begins."""
    seed: int = Field(default=42, ge=0, le=2**31 - 1, validation_alias="SIMULATION_SEED")
    rows_per_day: int = Field(default=20_000, ge=0, le=10_000_000, validation_alias="SIMULATION_ROWS_PER_DAY")
    late_close_seconds: int = Field(default=90, ge=0, le=86_400, validation_alias="SIMULATION_LATE_CLOSE_SECONDS")
    shop_orders: int = Field(default=5_000, ge=0, le=50_000_000, validation_alias="SIMULATION_SHOP_ORDERS")
    late_commit_seconds: int = Field(default=20, ge=0, le=3_600, validation_alias="SIMULATION_LATE_COMMIT_SECONDS")
    channel_sales: int = Field(default=2_000, ge=0, le=10_000_000, validation_alias="SIMULATION_CHANNEL_SALES")


_known: list[tuple[engine.Settings, Settings]] = []
"""The settings of the engine for which these were read, and these."""


def get() -> Settings:
    """The settings of this process, read again whenever those of the engine are.

    Raises:
        ConfigurationError: a setting is out of bounds; names it, its value and what was expected.
    """
    current = engine.get()
    if not _known or _known[0][0] is not current:
        _known[:] = [(current, engine.read(Settings))]
    return _known[0][1]
