"""What a program takes on its command line: the library that reads it, and what its parser says."""
