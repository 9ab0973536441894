"""The platform of a machine without Docker."""
