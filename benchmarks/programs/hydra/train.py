"""A Hydra application: a small network that learns a function, in NumPy. It logs to a CSV file."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


class Adam:
    def __init__(self, lr: float, betas: list[float]) -> None:
        self.lr, self.betas, self.seen = lr, betas, 0
        self.first: dict[int, np.ndarray] = {}
        self.second: dict[int, np.ndarray] = {}

    def update(self, gradients: list[np.ndarray], weights: list[np.ndarray]) -> None:
        self.seen += 1
        a, b = self.betas
        for i, (gradient, weight) in enumerate(zip(gradients, weights, strict=True)):
            self.first[i] = a * self.first.get(i, 0) + (1 - a) * gradient
            self.second[i] = b * self.second.get(i, 0) + (1 - b) * gradient**2
            mean, square = self.first[i] / (1 - a**self.seen), self.second[i] / (1 - b**self.seen)
            weight -= self.lr * mean / (np.sqrt(square) + 1e-8)


class SGD:
    def __init__(self, lr: float, momentum: float) -> None:
        self.lr, self.momentum = lr, momentum
        self.velocity: dict[int, np.ndarray] = {}

    def update(self, gradients: list[np.ndarray], weights: list[np.ndarray]) -> None:
        for i, (gradient, weight) in enumerate(zip(gradients, weights, strict=True)):
            self.velocity[i] = self.momentum * self.velocity.get(i, 0) + gradient
            weight -= self.lr * self.velocity[i]


def forward(x: np.ndarray, weights: list[np.ndarray]) -> list[np.ndarray]:
    """The activations of every layer."""
    layers = [x]
    for i in range(0, len(weights), 2):
        out = layers[-1] @ weights[i] + weights[i + 1]
        layers.append(out if i == len(weights) - 2 else np.tanh(out))
    return layers


def gradients_of(layers: list[np.ndarray], weights: list[np.ndarray], y: np.ndarray) -> list[np.ndarray]:
    """Of the squared error."""
    error = 2 * (layers[-1] - y) / len(y)
    found: list[np.ndarray] = []
    for i in range(len(weights) - 2, -1, -2):
        before = layers[i // 2]
        found = [before.T @ error, error.sum(0), *found]
        error = (error @ weights[i].T) * (1 - before**2)
    return found


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    random = np.random.default_rng(cfg.seed)
    x = random.uniform(-1, 1, (2000, 4))
    y = np.sin(3 * x).sum(1, keepdims=True) + random.normal(0, 0.1, (2000, 1))
    sizes = [4, *cfg.model.hidden, 1]
    weights: list[np.ndarray] = []
    for a, b in itertools.pairwise(sizes):
        weights += [random.normal(0, a**-0.5, (a, b)), np.zeros(b)]
    optimizer = (
        Adam(cfg.optimizer.lr, list(cfg.optimizer.betas))
        if cfg.optimizer.name == "adam"
        else SGD(cfg.optimizer.lr, cfg.optimizer.momentum)
    )
    out = Path(HydraConfig.get().runtime.output_dir)
    with (out / "metrics.csv").open("w", newline="") as file:
        log = csv.DictWriter(file, ["step", "train/loss", "eval/loss"])
        log.writeheader()
        for step in range(1, cfg.steps + 1):
            batch = random.integers(0, 1600, cfg.batch_size)
            layers = forward(x[batch], weights)
            if step % 10 == 0:
                row: dict[str, float] = {"step": step, "train/loss": float(np.mean((layers[-1] - y[batch]) ** 2))}
                if step % 50 == 0:
                    row["eval/loss"] = float(np.mean((forward(x[1600:], weights)[-1] - y[1600:]) ** 2))
                log.writerow(row)
                file.flush()
            optimizer.update(gradients_of(layers, weights, y[batch]), weights)


if __name__ == "__main__":
    main()
