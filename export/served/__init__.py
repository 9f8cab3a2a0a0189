"""Served functions: signatures, their inputs, and their tables."""
