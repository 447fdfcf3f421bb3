"""A recipe file and overrides in, checked settings out."""
