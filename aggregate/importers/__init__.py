"""Import of learning curves of other programs (CSV, JSON, Parquet, TensorBoard) as runs that the report can read."""

from aggregate.importers.curves import Curve, collect, write
from aggregate.importers.import_options import CurveImportError, ImportOptions

__all__ = ["Curve", "CurveImportError", "ImportOptions", "collect", "write"]
