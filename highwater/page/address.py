"""The address of the page, below that of Airflow's UI. Light, since every process of Airflow imports the plugin."""

from __future__ import annotations

from airflow.configuration import conf

PREFIX = "/highwater"


def address(path: str = "/") -> str:
    """A path of the page as a browser requests it: below the path of Airflow's base URL, if that has one."""
    base = conf.get("api", "base_url", fallback="").split("://", 1)[-1]
    below = base.partition("/")[2].strip("/")
    return f"{'/' + below if below else ''}{PREFIX}{path}"
