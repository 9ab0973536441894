"""What Airflow loads of Highwater, in each of its processes: the timetable that asks the policy."""

from airflow.plugins_manager import AirflowPlugin

from highwater.timetable import PolicyTimetable


class HighwaterPlugin(AirflowPlugin):
    """Registers what Airflow must be able to read back from its metadata."""

    name = "highwater"
    timetables = [PolicyTimetable]  # noqa: RUF012
