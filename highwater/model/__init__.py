"""What the rest is written in: windows, policies, moments, errors. Pure: no database, nothing else of the engine."""
