"""Suites and their verdicts."""
