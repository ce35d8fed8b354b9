"""From YAML, --set and options to one validated config."""
