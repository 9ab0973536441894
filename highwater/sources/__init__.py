"""The sources: a session at one, its columns and rules, whether it is there."""
