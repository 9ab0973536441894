"""The description that ``airflow providers`` shows."""

from __future__ import annotations

from typing import Any

from highwater import __version__


def info() -> dict[str, Any]:
    """The description of the provider, by Airflow's schema of providers."""
    return {
        "package-name": "highwater",
        "name": "Highwater",
        "description": "A window ledger: which windows of data have landed, which are missing and why.",
        "versions": [__version__],
    }
