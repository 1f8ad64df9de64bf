"""The packaged plan and presets, read by `jobs.plan`."""
