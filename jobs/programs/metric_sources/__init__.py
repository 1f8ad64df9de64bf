"""Readers that follow, while a program trains, the files in which it logs its metrics."""
