"""A PyTorch training loop with data loaders, which logs to Weights & Biases and goes on from its checkpoint."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import torch
import wandb
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--lr", type=float, default=0.01)
parser.add_argument("--width", type=int, default=32)
parser.add_argument("--nesterov", action=argparse.BooleanOptionalAction, default=False)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--num-workers", type=int, default=2)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--checkpoint", type=Path, default=Path("checkpoint.pt"))


def classes(points: torch.Tensor) -> torch.Tensor:
    """Which of two moons a point belongs to, or so."""
    return (torch.sin(3 * points[:, 0]) > points[:, 1]).long()


def main() -> None:
    args = parser.parse_args()
    told_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told_to_stop.append(number))
    torch.manual_seed(args.seed)
    points = torch.rand(2200, 2) * 2 - 1
    model = nn.Sequential(nn.Linear(2, args.width), nn.ReLU(), nn.Linear(args.width, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=args.nesterov)
    history: list[dict[str, object]] = []
    if args.checkpoint.exists():
        saved = torch.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        history = saved["history"]
    data = TensorDataset(points[:2000], classes(points[:2000]))
    run = wandb.init(project="moons", config=vars(args) | {"checkpoint": str(args.checkpoint)})
    # Without network W&B writes blocks of 32 KiB: of a killed program, the newest rows are in its checkpoint alone.
    for epoch, row in enumerate(history, 1):
        run.log(row, step=epoch)
    for epoch in range(len(history) + 1, args.epochs + 1):
        order = torch.Generator().manual_seed(1000 * args.seed + epoch)
        loader = DataLoader(data, 64, shuffle=True, num_workers=args.num_workers, generator=order)
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = (model(points[2000:]).argmax(1) == classes(points[2000:])).float().mean()
        history.append({"train": {"loss": loss.item()}, "val/accuracy": right.item()})
        run.log(history[-1], step=epoch)
        print(f"epoch {epoch} train/loss {loss.item()} val/accuracy {right.item()}")
        part = args.checkpoint.with_suffix(".part")
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": history}, part)
        os.replace(part, args.checkpoint)
        if told_to_stop:
            break
    run.finish()


if __name__ == "__main__":
    main()
