"""Exports run directories as versions that model servers load."""
