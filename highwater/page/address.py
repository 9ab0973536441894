"""Where the page lies: below the address of Airflow's UI. Light, since each process of Airflow loads the plugin."""

from __future__ import annotations

from airflow.configuration import conf

PREFIX = "/highwater"


def address(path: str = "/") -> str:
    """A path of the page as a browser asks for it: below the path of Airflow's own address, if that has one."""
    base = conf.get("api", "base_url", fallback="").split("://", 1)[-1]
    below = base.partition("/")[2].strip("/")
    return f"{'/' + below if below else ''}{PREFIX}{path}"
