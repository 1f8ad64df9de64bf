"""Rows of runs to where others look at them: CSV, TensorBoard, Weights & Biases."""

from aggregate.export.folder import Exported, Folder

__all__ = ["Exported", "Folder"]
