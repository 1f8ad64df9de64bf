"""The algorithm: networks, losses, value targets, the MPPI planner and the update."""
