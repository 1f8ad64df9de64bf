"""The results folder: its paths, its records and the state of a run."""
