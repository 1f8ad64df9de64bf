"""What is trained: the packaged agent, or a Python object of the user."""
