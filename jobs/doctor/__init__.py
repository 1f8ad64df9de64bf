"""`sweeps doctor`: checks of this machine and its cluster, and a first profile."""
