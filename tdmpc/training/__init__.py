"""The training loop and what it stands on: environments, replay, evaluation, checkpoints."""
