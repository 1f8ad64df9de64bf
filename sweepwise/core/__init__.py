"""Contracts shared by all packages: standard library only, and pyarrow in `shards`."""
