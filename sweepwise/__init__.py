"""The public Python API, and the contracts that all packages share (`sweepwise.core`)."""
