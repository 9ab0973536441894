"""Airflow looks for plugins in this folder; Highwater's is with the rest of its code."""

from highwater.airflow.plugin import HighwaterPlugin

__all__ = ["HighwaterPlugin"]
