"""Datasets that are loaded by their changes."""
