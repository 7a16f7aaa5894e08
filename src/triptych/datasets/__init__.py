"""Data sets that are always there."""
