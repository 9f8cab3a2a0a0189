"""Experiment trackers, which follow a run and can neither end nor block it."""
