"""What Airflow imports: task blocks, the timetable, the plugin."""
