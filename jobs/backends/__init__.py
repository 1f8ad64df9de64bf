"""The backends that run tasks: one module or folder per backend, and a registry."""
