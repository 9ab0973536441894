"""Backfills: requested, planned, run in lanes."""
