"""The agent: TD-MPC2 with a state-value ensemble, dynamics ensembles and auxiliary discounts."""
