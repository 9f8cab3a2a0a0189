"""Trains Wukong from flags: `python -m trainer.main --flagfile=...`."""
