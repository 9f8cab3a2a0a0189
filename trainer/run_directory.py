"""Opens a run directory for one writer, new or to go on with."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from trainer import checkpoints
from trainer.checkpoints import write_json
from trainer.data import held_out
from trainer.data.source import Source
from trainer.run_config import FREE_ON_RESUME
from wukong_tf import runs
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import RunError

SAMPLE_ROWS = 1024
_LOCK = "lock"


@contextlib.contextmanager
def locked(run_dir: str) -> Iterator[None]:
    """Makes the directory if need be, and holds it against other writers.

    Raises:
        RunError: it cannot be written, or another process holds it.
    """
    try:
        os.makedirs(run_dir, exist_ok=True)
        lock = open(os.path.join(run_dir, _LOCK), "a")  # noqa: SIM115
    except OSError as error:
        raise RunError(
            f"--run_dir={run_dir} cannot be written: {error}."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"--run_dir={run_dir} is in use by another process; two runs "
                "cannot share a directory."
            ) from error
        checkpoints.remove_unfinished(run_dir)
        yield


def claim(run_dir: str, content: dict[str, Any], features: FeatureSpec):
    """Writes the run's configuration, or checks that it is the same.

    Args:
        run_dir: a locked run directory.
        content: config.json's content.
        features: features.json's content.

    Raises:
        RunError: the directory belongs to a run of another configuration;
            the message names what differs.
    """
    path = os.path.join(run_dir, runs.CONFIG)
    if os.path.exists(path):
        old = runs.read_config(run_dir)
        different = list(_differences(old, content, ""))
        if runs.read_features(run_dir) != features:
            different.append(runs.FEATURES)
        if different:
            raise RunError(
                f"--run_dir={run_dir} belongs to a run of another "
                f"configuration; different: {'; '.join(different)}. Choose "
                "another --run_dir, or the same flags as before."
            )
    checkpoints.write_json(
        os.path.join(run_dir, runs.FEATURES), features.to_dict()
    )
    checkpoints.write_json(path, content)


def _differences(old, new, prefix):
    for key in sorted({*old, *new}):
        if prefix == "training." and key in FREE_ON_RESUME:
            continue
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, f"{key}.")
        elif before != now:
            yield f"{prefix}{key} was {before}, is {now}"


def write_held_out(run_dir: str, split: str, source: Source):
    """Notes which split was held out, and its first rows as samples.parquet.

    The rows hold what a request holds, raw values where requests do.
    """
    path = os.path.join(run_dir, runs.HELD_OUT)
    write_json(path, held_out.describe(split, source))
    path = os.path.join(run_dir, runs.SAMPLES)
    if os.path.exists(path):
        return
    beside = f"{path}.unfinished"
    pq.write_table(source.sample(SAMPLE_ROWS), beside)
    os.replace(beside, path)
