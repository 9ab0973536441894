"""Where Airflow looks for plugins: the one of Highwater."""

from highwater.airflow_plugin import HighwaterPlugin

__all__ = ["HighwaterPlugin"]
