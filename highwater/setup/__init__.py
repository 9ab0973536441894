"""Bringing the databases and Airflow's files to what this version needs."""
