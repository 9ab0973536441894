"""Creates and upgrades the databases and Airflow's files for the installed version."""
