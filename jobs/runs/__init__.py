"""Submitted runs: status, logs, selection, expected cost, canaries and resource usage."""
