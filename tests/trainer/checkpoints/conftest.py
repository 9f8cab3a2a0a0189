"""Runs of small models that tests may spoil."""

from tests.worlds.small_runs import pristine, run_dir  # noqa: F401
