"""The simulated company: its sources, their outages, and drills of a recovery."""
