"""A run directory and the checkpoints that are written to it."""
