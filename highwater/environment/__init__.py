"""Where Highwater runs: settings, secrets, the commands of this checkout."""
