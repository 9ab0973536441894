"""The page in Airflow's UI: what has landed, what is missing and why, what runs, whether anything is wrong."""
