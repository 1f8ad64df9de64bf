"""Single figures for a paper."""
