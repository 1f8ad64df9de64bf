"""Where tasks run. One module or folder for each backend, and one registry."""
