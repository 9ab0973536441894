"""Highwater: the record of what landed, beside Airflow's record of what ran."""
