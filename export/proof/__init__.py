"""Comparison of a version's scores with those of its checkpoint."""
