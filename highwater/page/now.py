"""The current state: freshness, running windows, recoveries, backfills, incidents, sources, policies, their changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg2.extensions import cursor as Cursor

from highwater.page.access import Visitor
from highwater.store import warehouse

PARTS = {
    "datasets": "datasets_now",
    "running": "running",
    "recoveries": "recoveries",
    "backfills": "backfills",
    "incidents": "incidents",
    "sources": "sources",
    "policy_changes": "policy_changes",
}
"""The parts, each with its query in highwater/sql/page/."""


def read(cursor: Cursor, datasets: Sequence[Any]) -> dict[str, list[Any]]:
    """The rows of each part for these datasets."""
    names = [row.dataset for row in datasets]
    facts = {}
    for part, file in PARTS.items():
        warehouse.run_file(cursor, f"page/{file}.sql", {"datasets": names})
        facts[part] = warehouse.fetch_all(cursor)
    return facts


def acknowledgeable(incidents: Sequence[Any], datasets: Sequence[Any], visitor: Visitor) -> set[int]:
    """The incidents that the visitor may acknowledge: those of DAGs whose runs they may change."""
    dag_of = {row.dataset: row.dag_id for row in datasets}
    changeable = visitor.changeable(set(dag_of.values()))
    return {
        incident.incident_id
        for incident in incidents
        if all(dag_of.get(dataset) in changeable for dataset in incident.datasets)
    }
