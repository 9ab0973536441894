"""Airflow loads plugins from this folder; Highwater's own is part of its package."""

from highwater.airflow.plugin import HighwaterPlugin

__all__ = ["HighwaterPlugin"]
