"""Finished runs: read, compared, checked."""
