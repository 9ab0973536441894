"""The Airflow plugin: the timetable that follows the policy, and the page.

Every Airflow process loads it, so it imports little: only the API server serves the page.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from highwater.airflow.timetable import PolicyTimetable
from highwater.page.address import PREFIX, address


def _view(name: str, route: str, href: str, destination: str) -> dict[str, str]:
    return {
        "name": name,
        "url_route": route,
        "href": href,
        "destination": destination,
        "icon": address("/static/icon.svg"),
        "icon_dark_mode": address("/static/icon-dark.svg"),
    }


class OldTimetable(PolicyTimetable):
    """`PolicyTimetable` under the name in metadata of version 0.1, until the DAG files are parsed again."""


OldTimetable.__module__, OldTimetable.__name__ = "highwater.timetable", "PolicyTimetable"


class HighwaterPlugin(AirflowPlugin):
    """The timetable of the DAGs; the page, in the navigation and as a tab of each DAG."""

    name = "highwater"
    timetables = [PolicyTimetable, OldTimetable]  # noqa: RUF012

    external_views = [  # noqa: RUF012
        _view("Highwater", "highwater", address(), "nav"),
        _view("Windows", "highwater-windows", address("/?dag_id={DAG_ID}"), "dag"),
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The page's app, and the app that proves this platform's identity; only the API server imports them."""
        from highwater.environment import identity
        from highwater.page import identity as proving
        from highwater.page.app import make_app

        return [
            {"name": "highwater", "app": make_app(), "url_prefix": PREFIX},
            {"name": "highwater identity", "app": proving.make_app(), "url_prefix": identity.PREFIX},
        ]
