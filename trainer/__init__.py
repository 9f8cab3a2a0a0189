"""Trains Wukong from flags: `python -m trainer.main --flagfile=...`."""

from wukong_tf import extras

extras.check_own("trainer")
