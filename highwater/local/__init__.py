"""Running the platform on a machine without Docker."""
