"""The path that every experiment walks: config, run, record."""
