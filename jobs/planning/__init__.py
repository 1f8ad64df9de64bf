"""Plans: YAML to configurations and seeds, questions, decisions and interim analyses."""
