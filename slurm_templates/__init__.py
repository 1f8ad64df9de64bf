"""Cluster profiles, read by `jobs.backends.slurm.profile`."""
