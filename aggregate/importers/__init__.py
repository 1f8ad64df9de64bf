"""Import of learning curves of other programs (CSV, JSON, Parquet, TensorBoard) as runs that the report can read."""

from aggregate.importers.curves import Collected, Curve, collect, write
from aggregate.importers.faults import KINDS, CurveImportError
from aggregate.importers.import_options import ImportOptions

__all__ = ["KINDS", "Collected", "Curve", "CurveImportError", "ImportOptions", "collect", "write"]
