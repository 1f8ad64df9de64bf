"""The algorithm: networks, losses, value targets, the MPPI planner and one update."""
