"""Settings from the environment, read once: each with its default and bounds."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from highwater.model import clock, expected
from highwater.model.errors import ConfigurationError

_CHECKOUT = Path(__file__).resolve().parents[2]
IN_CHECKOUT = (_CHECKOUT / "dags").is_dir()
"""Whether this code is in a checkout, or the image's copy of one; otherwise it is installed."""
ROOT = Path(os.environ.get("HIGHWATER_PROJECT") or (_CHECKOUT if IN_CHECKOUT else Path.cwd())).absolute()
"""The project, with dags/, sql/, expectations/ and config/: ``HIGHWATER_PROJECT``, else the checkout, else the current
folder."""

DAY_IS_DUE_AFTER = timedelta(hours=2)
"""A day's run is at 02:00: until then, yesterday is not due yet."""


S = TypeVar("S", bound=BaseSettings)


class Settings(BaseSettings):
    """All settings; in the environment a field is in capitals with the prefix ``HIGHWATER_``."""

    model_config = SettingsConfigDict(env_prefix="HIGHWATER_", frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = ROOT / ".highwater"
    secrets_dir: Path | None = None
    anchor: date | None = Field(default=None, ge=date(1970, 1, 1), le=date(2199, 12, 31))
    keep_versions_days: int = Field(default=7, ge=0, le=3660)

    warehouse_host: str = "127.0.0.1"
    warehouse_port: int = Field(default=5432, ge=1, le=65535)
    warehouse_database: str = "warehouse"
    warehouse_admin: str = "postgres"
    warehouse_admin_password_file: Path | None = None
    warehouse_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    sources_database: str = "sources"
    extension: str | None = None
    metadata_host: str | None = None
    metadata_port: int | None = Field(default=None, ge=1, le=65535)
    metadata_database: str = "airflow"
    ui_port: int = Field(default=8080, ge=1, le=65535)

    recovery_order: Literal["oldest", "newest"] = "oldest"
    recovery_batch: int = Field(default=24, ge=1, le=500)

    alert_urls: SecretStr | None = None
    alert_urls_file: Path | None = None

    @field_validator("home", "secrets_dir", "warehouse_admin_password_file", "alert_urls_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path if path is None else path.absolute()

    @property
    def secrets(self) -> Path:
        """The folder of generated secrets, one file each."""
        return self.secrets_dir or self.home / "secrets"

    @property
    def anchor_file(self) -> Path:
        """Where bootstrap stores the anchor for the DAG files, which must not query a database."""
        return self.home / "anchor"

    @property
    def policies_file(self) -> Path:
        """The last known catch-up policies, for a scheduler while the warehouse is unavailable."""
        return self.home / "policies.json"

    @property
    def ui_address(self) -> str:
        """Where Airflow's UI is served, on this machine only."""
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def ui_passwords_file(self) -> Path:
        """The login of Airflow's UI, as its SimpleAuthManager reads it."""
        return self.home / "ui_passwords.json"

    def anchor_date(self) -> date:
        """The day from which fixed start dates count: ``HIGHWATER_ANCHOR``, else the day of the first start."""
        if self.anchor is not None:
            return self.anchor
        if self.anchor_file.exists():
            return date.fromisoformat(self.anchor_file.read_text().strip())
        return (clock.now() - DAY_IS_DUE_AFTER).date()

    def days_before_anchor(self, days: int) -> datetime:
        """Midnight UTC, ``days`` days before the anchor: a start date for a DAG."""
        return datetime.combine(self.anchor_date() - timedelta(days=days), time(), tzinfo=UTC)


@cache
def get() -> Settings:
    """The settings of this process.

    Raises:
        ConfigurationError: a setting is out of bounds; names it, its value and what was expected.
    """
    return read(Settings)


def read(kind: type[S]) -> S:
    """Settings of that class from the environment, and from the project's and the platform's files.

    Raises:
        ConfigurationError: a setting is out of bounds; names it, its value and what was expected.
    """
    home = Path(os.environ.get("HIGHWATER_HOME") or ROOT / ".highwater")
    try:
        return kind(_env_file=(ROOT / "config/highwater.env", ROOT / ".env", home / "platform.env"))
    except ValidationError as error:
        raise ConfigurationError("; ".join(_sentence(problem) for problem in error.errors())) from None


def _sentence(problem: object) -> str:
    assert isinstance(problem, dict)
    name = str(problem["loc"][0])
    if name.islower():
        name = f"HIGHWATER_{name.upper()}"
    return f"setting {name}={expected.shown(problem['input'])} is refused: {expected.expected(problem)}"
