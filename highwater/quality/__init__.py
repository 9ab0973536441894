"""Suites of expectations, and audits."""
