"""Comparisons of tuned models: one JSON file each, and `collect`."""
