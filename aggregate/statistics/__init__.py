"""Intervals, tests, alpha spending and step bins. Pure functions of arrays."""
