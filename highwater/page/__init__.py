"""The page in Airflow's UI: what has landed, what is missing and why, what is running, and open incidents."""
