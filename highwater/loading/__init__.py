"""The stages of a window, from its source to the published table."""
