"""Export of logged metrics (CSV, TensorBoard, Weights & Biases) and of the summary as frames."""

from aggregate.export.folder import Exported, ExportedConfig, Folder

__all__ = ["Exported", "ExportedConfig", "Folder"]
