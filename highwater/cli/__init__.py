"""The command ``highwater``."""
