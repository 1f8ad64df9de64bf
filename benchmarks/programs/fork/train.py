"""A stand-in for a researcher's fork: its Hydra configuration and its logs are real, its learning curves are made up.

With one value head the return collapses in the second half; the mean over heads learns a little more; log_std
oscillates where the policy is updated as often as the values.
"""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

COLUMNS = ("step", "episode_reward", "train_reward", "log_std", "pi_loss", "consistency_loss")


def row(cfg: DictConfig, step: int, noise: random.Random) -> dict[str, Any]:
    """What is logged at a step."""
    share = step / cfg.steps
    height = 600 + 60 * (cfg.policy_head_reduce == "mean") + 20 * math.log(cfg.tau / 0.01)
    level = height / (1 + math.exp(-12 * (share - 0.3)))
    if cfg.num_q == 1 and share > 0.55:
        level *= max(0.1, 1 - 3 * (share - 0.55))
    swing = 1.5 * (cfg.pi_update_freq == 1) * math.sin(40 * share)
    return {
        "step": step, "episode_reward": level + noise.gauss(0, 15), "train_reward": level + noise.gauss(0, 30),
        "log_std": -1 + swing + noise.gauss(0, 0.05), "pi_loss": -level / 100 + noise.gauss(0, 0.1),
        "consistency_loss": 0.1 + 0.5 * math.exp(-5 * share) + abs(noise.gauss(0, 0.01)),
    }  # fmt: skip


@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg: DictConfig) -> None:
    noise = random.Random(1000 * cfg.seed + 7)
    folder = Path(HydraConfig.get().runtime.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.csv").open("w", newline="") as file:
        log = csv.DictWriter(file, COLUMNS)
        log.writeheader()
        for step in range(cfg.eval_every, cfg.steps + 1, cfg.eval_every):
            log.writerow(row(cfg, step, noise))


if __name__ == "__main__":
    main()
