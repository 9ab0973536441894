"""What is wrong, and telling people once."""
