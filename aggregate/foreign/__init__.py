"""Learning curves that others wrote (CSV, JSON lines, Parquet, TensorBoard) as runs that the report can read."""

from aggregate.foreign.asked import Asked, ForeignError
from aggregate.foreign.curves import Curve, collect, write

__all__ = ["Asked", "Curve", "ForeignError", "collect", "write"]
