"""Catch-up policies: their file, the scheduler's copy, their conditions, and the rules of sources."""
