"""Export of logged metrics (CSV, TensorBoard, Weights & Biases) and of the summary as frames."""

from aggregate.export.folder import Exported, Folder

__all__ = ["Exported", "Folder"]
