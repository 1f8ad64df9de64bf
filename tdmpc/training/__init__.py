"""The training loop, environments, replay, evaluation and checkpoints."""
