"""Cluster profiles, read by `jobs.profiles`."""
