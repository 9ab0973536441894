"""The simulated company: its sources, their outages, drills of a recovery."""
