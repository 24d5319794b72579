"""What is measured: our own service, and any chat that a TOML file describes."""
