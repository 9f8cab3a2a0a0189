"""The run directory: its configuration, its checkpoints, a trained model.

A checkpoint is a directory `checkpoints/step-N/` of NumPy files and a
`checkpoint.json` that names each array with its SHA-256, so that a truncated
or altered file is found before it is used. Everything is read as data;
nothing is unpickled.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from wukong_tf import files
from wukong_tf.config import (
    FeatureSpec,
    ModelConfig,
    model_config_from_dict,
    schema,
)
from wukong_tf.errors import ConfigError, RunError, WukongError

CONFIG = "config.json"
FEATURES = "features.json"
SAMPLES = "samples.parquet"
HELD_OUT = "held_out.json"
PREPARATION = "preparation.json"
DATA = "data.json"
CHECKPOINTS = "checkpoints"
INDEX = "checkpoint.json"
BEST = "best.json"
FORMAT = 1
_MAPPED_BYTES = 2**20  # files above this size are not read at once


@dataclasses.dataclass(frozen=True)
class Checkpoint(Mapping[str, np.ndarray]):
    """A verified checkpoint: a mapping of canonical names to arrays.

    Args:
        path: its directory.
        step: training steps done when it was written.
        state: the trainer's own JSON values, such as the evaluations so far.
        entries: dict of array name to its file, shape and checksum.
        held: the open index; while it is, a running trainer does not remove
            the checkpoint. Defaults to None.
        run: identity of the run that wrote it. Defaults to None, as in runs
            of older versions.
    """

    path: str
    step: int
    state: dict[str, Any]
    entries: dict[str, dict[str, Any]]
    held: BinaryIO | None = None
    run: str | None = None

    def __getitem__(self, name: str) -> np.ndarray:
        path = os.path.join(self.path, self.entries[name]["file"])
        try:
            if os.path.getsize(path) > _MAPPED_BYTES:
                # Read as it is used: a table may be most of the memory.
                return np.lib.format.open_memmap(path, mode="r")
            with open(path, "rb") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise RunError(
                f"corrupted checkpoint: {path} (array {name!r}): {error}."
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def digest(content: dict[str, Any]) -> str:
    """SHA-256 of JSON content, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def checkpoint_paths(run_dir: str) -> list[tuple[int, str]]:
    """(step, directory) of the published checkpoints, oldest first."""
    folder = os.path.join(run_dir, CHECKPOINTS)
    if not os.path.isdir(folder):
        return []
    found = []
    for name in os.listdir(folder):
        prefix, _, step = name.partition("-")
        if prefix == "step" and step.isdigit():
            found.append((int(step), os.path.join(folder, name)))
    return sorted(found)


def open_checkpoint(path: str) -> Checkpoint:
    """The checkpoint in directory `path`, every checksum verified.

    Raises:
        RunError: naming the file that is missing, truncated or altered.
    """
    index = os.path.join(path, INDEX)
    held = None
    with contextlib.suppress(OSError):  # reading it says why
        held = files.shared_lock(index)
    try:
        content = schema.parse_json(_read_text(index), index)
    except ConfigError as error:
        raise RunError(f"corrupted checkpoint: {error}") from error
    expected = content.pop("digest", None) if isinstance(content, dict) else 0
    if not isinstance(content, dict) or expected != digest(content):
        raise RunError(
            f"corrupted checkpoint: {index} does not match its own digest."
        )
    if (found_format := content.get("format")) != FORMAT:
        raise RunError(
            f"{index}: checkpoint format {found_format} is not {FORMAT}, the "
            "one that this version reads."
        )
    try:
        found = Checkpoint(
            path,
            content["step"],
            content["state"],
            dict(content["arrays"]),
            held,
            content.get("run"),
        )
        entries = {
            name: (str(entry["file"]), str(entry["sha256"]))
            for name, entry in found.entries.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"corrupted checkpoint: {index} lacks or distorts a key: {error}."
        ) from error
    for name, (file, sha256) in entries.items():
        _verify_array(path, name, file, sha256)
    return found


def identity(run_dir: str) -> str | None:
    """Returns the random name of a run, or None of one of older versions."""
    with contextlib.suppress(WukongError):
        found = read_config(run_dir).get("run")
        return found if isinstance(found, str) else None
    return None


def check_owner(run_dir: str, found: Checkpoint) -> None:
    """Raises RunError if another run wrote a checkpoint, whole or not."""
    owner = identity(run_dir)
    if None not in (owner, found.run) and owner != found.run:
        raise RunError(
            f"{found.path}: is a checkpoint of another run ({found.run}) than "
            f"that of {run_dir} ({owner}). Remove it; --init_from starts a "
            "run from another one's."
        )


def best_step(run_dir: str) -> int | None:
    """Step of the best checkpoint so far, or None before an evaluation."""
    path = os.path.join(run_dir, CHECKPOINTS, BEST)
    if not os.path.exists(path):
        return None
    try:
        return int(schema.parse_json(_read_text(path), path)["step"])
    except (
        ConfigError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
    ) as error:
        raise RunError(f"{path}: names no step: {error}.") from error


def find_checkpoint(run_dir: str, which: str | int = "best") -> Checkpoint:
    """The checkpoint of a run that `which` names.

    Args:
        run_dir: the run directory.
        which: "best", "latest", or a step. "best" is the latest where the
            run has made no evaluation.

    Raises:
        RunError: there is no such checkpoint, or it is corrupted.
    """
    while True:
        path = _checkpoint_path(run_dir, which)
        try:
            found = open_checkpoint(path)
        except RunError:
            # A running trainer may have removed it for a newer one meanwhile.
            if os.path.lexists(path):
                raise
        else:
            check_owner(run_dir, found)
            return found


def _checkpoint_path(run_dir, which):
    best = best_step(run_dir)
    paths = dict(checkpoint_paths(run_dir))
    if not paths:
        raise RunError(f"{run_dir}: there is no checkpoint in this run yet.")
    step: str | int | None = which
    if which == "best":
        step = max(paths) if best is None else best
        if step not in paths and best_step(run_dir) != best:
            return _checkpoint_path(run_dir, which)  # a better one just came
    elif which == "latest":
        step = max(paths)
    elif isinstance(which, str) and which.isdigit():
        step = int(which)
    if step not in paths:
        raise RunError(
            f"{run_dir}: there is no checkpoint {which!r}; there are steps "
            f"{sorted(paths)}."
        )
    return paths[step]


def read_features(run_dir: str) -> FeatureSpec:
    """The feature spec that the run was trained with."""
    path = os.path.join(run_dir, FEATURES)
    return FeatureSpec.from_json(_read_text(path), path)


def read_config(run_dir: str) -> dict[str, Any]:
    """config.json: {"format", "run", "model", "training", "data"}."""
    path = os.path.join(run_dir, CONFIG)
    content = schema.parse_json(_read_text(path), path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RunError(
            f"{path}: expected a run configuration of format {FORMAT}."
        )
    if not isinstance(content.get("model"), dict):
        raise RunError(f"{path}: key 'model' must hold an object.")
    return content


def read_model_config(run_dir: str) -> ModelConfig:
    """The model's configuration, with the run's features."""
    model = read_config(run_dir)["model"]
    features = read_features(run_dir)
    return model_config_from_dict({**model, "features": features.to_dict()})


def load_run(
    run_dir: str,
    checkpoint: str | int = "best",
    *,
    lookup: str = "take",
    dtype: str = "float32",
    keep_units: int | Mapping[str, int] | None = None,
    host_tables: Collection[str] = (),
):
    """The trained model of a run directory.

    Args:
        run_dir: as given to `trainer.main --run_dir`.
        checkpoint: "best" on the validation rows, "latest", or a step.
        lookup: engine that reads the tables. Defaults to "take", which
            needs Keras alone.
        dtype: Keras dtype policy of the dense part. Defaults to "float32",
            whatever the run was trained in.
        keep_units: units that are left of features with several, by feature
            or one number for all; the columns of the others are not loaded,
            and their rows of X_0 are zeros. Defaults to None, all.
        host_tables: names of the tables that lie in the host's memory while
            the rest is on an accelerator. Defaults to (), none.

    Returns:
        A `wukong_tf.models.ClickModel`, such as a `Wukong`.

    Raises:
        RunError: the run directory or checkpoint is missing or corrupted.
        ConfigError: `keep_units` names what is not there.

    Example:
        >>> model = wukong_tf.load_run("runs/quickstart")  # doctest: +SKIP
    """
    from wukong_tf.models import build_model
    from wukong_tf.weights import assign_slots, model_slots

    config = read_model_config(run_dir)
    if keep_units is not None:
        features = config.features.cut(keep_units)
        config = dataclasses.replace(config, features=features)
    found = find_checkpoint(run_dir, checkpoint)
    model = build_model(
        config, lookup=lookup, dtype=dtype, host_tables=host_tables
    )
    slots = model_slots(model)
    cut = {
        f"tables/{f.table_name}"
        for f in config.features.categorical
        if f.kept_units < f.units
    }
    widths = {s.name: s.shape[1] for s in slots if s.name in cut}
    assign_slots(slots, _FirstColumns(found, widths))
    return model


@dataclasses.dataclass(frozen=True)
class _FirstColumns(Mapping[str, np.ndarray]):
    """Arrays, some of them with their first columns alone."""

    arrays: Mapping[str, np.ndarray]
    widths: Mapping[str, int]

    def __getitem__(self, name: str) -> np.ndarray:
        array = self.arrays[name]
        width = self.widths.get(name)
        return array if width is None else array[:, :width]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def parse_keep_units(texts: Sequence[str]) -> int | dict[str, int] | None:
    """What a `--keep_units` flag says, as `load_run` takes it.

    Args:
        texts: one number, or "FEATURE:NUMBER" each; empty for all units.

    Raises:
        ConfigError: a text is neither.
    """
    if not texts:
        return None
    try:
        if len(texts) == 1 and ":" not in texts[0]:
            return int(texts[0])
        pairs = [text.rsplit(":", 1) for text in texts]
        found = {name: int(number) for name, number in pairs}
    except ValueError as error:
        raise ConfigError(
            "--keep_units must be one number, or FEATURE:NUMBER for each of "
            f"some features; received {','.join(texts)!r}."
        ) from error
    if len(found) < len(pairs):
        raise ConfigError(
            f"--keep_units names a feature twice; received {','.join(texts)!r}."
        )
    return found


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {error}.") from error


def _verify_array(folder, name, file, sha256):
    path = os.path.join(folder, file)
    if os.path.basename(file) != file:
        raise RunError(f"{path}: array {name!r} lies outside its checkpoint.")
    try:
        found = files.sha256(path)
    except (OSError, ValueError) as error:
        raise RunError(
            f"corrupted checkpoint: {path} (array {name!r}) cannot be read: "
            f"{error}."
        ) from error
    if found != sha256:
        raise RunError(
            f"corrupted checkpoint: {path} (array {name!r}) has SHA-256 "
            f"{found}; {sha256} was written."
        )
