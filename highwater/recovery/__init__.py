"""What an outage left to be loaded."""
