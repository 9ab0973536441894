"""Sources: sessions at them, the types of their columns, and health checks."""
