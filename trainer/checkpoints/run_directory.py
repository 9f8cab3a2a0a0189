"""Opens a new or existing run directory for one writer."""

import contextlib
import os
import types
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.checkpoints import store
from trainer.data import held_out
from trainer.data.parquet import ParquetSource
from trainer.data.source import Source
from trainer.preparation import recorded
from trainer.settings import FIRST_ORDER_MODELS, FREE_ON_RESUME, Training
from wukong_tf import files, runs
from wukong_tf.config import (
    MODEL_CONFIGS,
    FeatureSpec,
    encodings,
    schema,
)
from wukong_tf.errors import RunError, WukongError

SAMPLE_ROWS = 1024
_LOCK = "lock"
_BEST = (runs.CHECKPOINTS, runs.BEST)
_FILES = (
    runs.CONFIG,
    runs.FEATURES,
    runs.SAMPLES,
    runs.HELD_OUT,
    runs.PREPARATION,
    runs.DATA,
    "metrics.jsonl",
)


class HeldDirectory:
    """A run directory that this process has locked.

    Args:
        run_dir: its path.
        lock: file descriptor of its open lock file.
    """

    def __init__(self, run_dir: str, lock: int):
        self._run_dir = run_dir
        self._lock = lock
        self._claimed = False

    def claim(self, content: dict[str, Any], features: FeatureSpec) -> None:
        """Writes the run's configuration, or checks that it is the same.

        Args:
            content: config.json's content.
            features: features.json's content.

        Raises:
            RunError: the directory belongs to a run of another configuration;
                the message names what differs.
        """
        _claim(self._run_dir, content, features)
        self._claimed = True

    def check(self) -> None:
        """Raises RunError unless the path still is the locked directory.

        The next write must not recreate a directory that was deleted, moved,
        replaced or made read-only. Once it is claimed, it must have its
        configuration, without which no checkpoint can be read.
        """
        try:
            now = os.stat(os.path.join(self._run_dir, _LOCK))
            same = os.path.samestat(now, os.fstat(self._lock))
        except OSError:
            same = False
        if not same:
            raise RunError(
                f"--run_dir={self._run_dir} was deleted, moved or replaced "
                "while the run was writing to it; nothing more is written. "
                "Restore it to resume from its last checkpoint."
            )
        if not os.access(self._run_dir, os.W_OK):
            raise RunError(
                f"--run_dir={self._run_dir} became read-only during the run; "
                "its checkpoints are unchanged. Make it writable to resume."
            )
        for name in (runs.CONFIG, runs.FEATURES) if self._claimed else ():
            path = os.path.join(self._run_dir, name)
            if not os.path.isfile(path):
                raise RunError(
                    f"{path} was removed or replaced while the run was writing "
                    "to its directory; nothing more is written. Restore it to "
                    "resume from the last checkpoint."
                )


@contextlib.contextmanager
def locked(run_dir: str) -> Iterator[HeldDirectory]:
    """Locks the directory against other writers, creating it if missing.

    Raises:
        RunError: it cannot be written, or another process has locked it.
    """
    path = os.path.join(run_dir, _LOCK)
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(run_dir, exist_ok=True)
            _check_kinds(run_dir)
            lock = stack.enter_context(files.locked(path))
        except BlockingIOError as error:
            raise RunError(
                f"--run_dir={run_dir} is in use by another process; two runs "
                "cannot share a directory."
            ) from error
        except OSError as error:
            raise RunError(
                f"--run_dir={run_dir} cannot be written: {error}."
            ) from error
        store.remove_unfinished(run_dir)
        held = HeldDirectory(run_dir, lock)
        held.check()  # the former holder may have moved the directory
        yield held


def _check_kinds(run_dir):
    """Raises RunError if a file is where a directory must be, or the reverse.

    Otherwise the error would only appear once the path is written, or, if it
    is a pipe, the run would wait for its other end.
    """
    folders = (runs.CHECKPOINTS, "tensorboard", "report", "tracking")
    for name in (*folders, _LOCK, *_FILES, os.path.join(*_BEST)):
        path = os.path.join(run_dir, name)
        expected = files.FOLDER if name in folders else files.FILE
        kind = files.kind_of(path)
        if kind not in (None, expected):
            raise RunError(
                f"{path}: must be {expected} of the run, but is {kind}; "
                "remove it or choose another --run_dir."
            )


def _claim(run_dir, content, features):
    path = os.path.join(run_dir, runs.CONFIG)
    run = uuid.uuid4().hex
    if not os.path.exists(path):
        if runs.checkpoint_paths(run_dir):
            raise RunError(
                f"{path}: is missing, but there are checkpoints of a run. "
                "Restore it to resume, or choose another --run_dir."
            )
    else:
        old = runs.read_config(run_dir)
        run = old.pop("run", run)
        excused: set[str] = set()
        if old.get("model", {}).get("model") not in FIRST_ORDER_MODELS:
            # Other models ignore these settings, and older runs lack them.
            excused = {k for k in content["training"] if "first_order" in k}
        different = list(_differences(old, content, excused=excused))
        before = runs.read_features(run_dir)
        if before != features:
            old_name, name = map(encodings.name_from_spec, (before, features))
            different.append(
                f"{runs.FEATURES} (was of preparation {old_name}, is of {name})"
            )
        if different:
            raise RunError(
                f"--run_dir={run_dir} belongs to a run of another "
                f"configuration; different: {'; '.join(different)}. Choose "
                "another --run_dir, or the same flags as before."
            )
    files.write_json(os.path.join(run_dir, runs.FEATURES), features.to_dict())
    files.write_json(path, {**content, "run": run})


def read_data(run_dir: str) -> dict[str, Any]:
    """Returns the records of the run's files in data.json, by split.

    Raises:
        RunError: data.json is invalid or cannot be read.
    """
    path = os.path.join(run_dir, runs.DATA)
    if not os.path.exists(path):  # a new run, or one of an older version
        return {}
    try:
        record = schema.read_json(path)
        return {
            str(split): [_recorded(entry) for entry in entries]
            for split, entries in record["files"].items()
        }
    except (
        WukongError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise RunError(
            f"{path}: is not a valid record of the run's files: {error}. "
            "Remove it to accept the files as they are now."
        ) from error


def _recorded(entry):
    """Returns the record of one file, with its types checked."""
    schema.check_text("", "outline", entry["outline"])
    if entry["sha256"] is not None:
        schema.check_text("", "sha256", entry["sha256"])
    return {key: entry[key] for key in ("file", "outline", "sha256")}


def write_data(run_dir: str, record: dict[str, Any]):
    """Writes the records of the run's files to data.json."""
    path = os.path.join(run_dir, runs.DATA)
    files.write_json(path, {"format": runs.FORMAT, "files": record})


def _differences(old, new, prefix="", excused=(), defaults=None):
    for key in sorted({*old, *new}):
        if prefix == "training." and (key in FREE_ON_RESUME or key in excused):
            continue
        before, now = old.get(key), new.get(key)
        if f"{prefix}{key}" == "data.test" and before is None:
            continue  # rows that only the report scores
        if key not in old:
            # Runs of versions without the setting did as its default says,
            # or as the default did then.
            unwritten = getattr(defaults, "unwritten", {})
            before = unwritten.get(key, getattr(defaults, key, None))
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(
                before, now, f"{key}.", excused, _defaults(key, now)
            )
        elif before != now:
            yield f"{prefix}{key} was {before}, is {now}"


def _defaults(key, content) -> Any:
    """Returns what has the defaults of a part of config.json, or None."""
    if key == "training":
        return Training()
    if key == "data":  # older versions wrote no digest of a synthetic log
        return types.SimpleNamespace(digest=content.get("digest"))
    return MODEL_CONFIGS[content["model"]] if key == "model" else None


def write_preparation(
    run_dir: str, folder: str, features: FeatureSpec, source: Source
):
    """Copies how the data were prepared, so that raw files are read alike.

    Args:
        run_dir: the run directory.
        folder: the folder of the data's features.json.
        features: the features.
        source: the train rows. Nothing is copied if their files do not
            record their preparation, since raw files then look the same.
    """
    if not isinstance(source, ParquetSource) or not source.prepared:
        return
    recorded.copy(folder, run_dir)
    files.write_json(
        os.path.join(run_dir, runs.PREPARATION),
        {
            "preparation": encodings.name_from_spec(features),
            "data": os.path.abspath(folder),
        },
    )


def write_held_out(run_dir: str, split: str, source: Source):
    """Writes the name of the held-out split, and its first rows as samples.

    Rows of samples.parquet have the columns of a request, raw if it has.
    """
    path = os.path.join(run_dir, runs.HELD_OUT)
    files.write_json(path, held_out.describe(split, source))
    path = os.path.join(run_dir, runs.SAMPLES)
    with contextlib.suppress(OSError, pa.ArrowInvalid):
        pq.read_schema(path)
        return
    with files.atomic_path(path) as temporary:
        pq.write_table(source.sample(SAMPLE_ROWS), temporary)
