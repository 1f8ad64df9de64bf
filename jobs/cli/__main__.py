"""`python -m jobs.cli`: the command line where `sweeps` is not installed."""

from jobs.cli import main

main()
