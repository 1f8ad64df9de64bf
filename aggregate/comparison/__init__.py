"""Comparison of sweeps as wholes."""
