"""From a run directory to versions that servers load."""
