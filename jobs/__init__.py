"""Plan to jobs: expands sweeps to runs, hands them to Slurm or this machine, and keeps what became of them."""
