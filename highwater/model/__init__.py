"""Windows, policies, moments, errors: what the rest is built on. Pure: no database, no other package of the engine."""
