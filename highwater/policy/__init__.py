"""Catch-up policies: the file, the scheduler's copy, the conditions."""
