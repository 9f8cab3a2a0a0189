"""Directories of studies: a lock, and a plan that is fixed once runs began."""

import contextlib
import dataclasses
import hashlib
import json
import os
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import wukong_tf
from trainer.data.paths import expand
from trainer.process.console import log
from trainer.settings import Settings
from wukong_tf import files
from wukong_tf.config import MODEL_CONFIGS, schema
from wukong_tf.errors import ConfigError, RunError

PLAN = "study.json"
PACKAGES = ("tensorflow", "keras")  # whose versions change results


@contextlib.contextmanager
def locked(output: str, does: str) -> Iterator[None]:
    """Creates the directory of a study and locks it.

    Args:
        output: the directory, the flag --output.
        does: what a study has one of, for the error's text.

    Raises:
        ConfigError: the directory cannot be created or written.
        RunError: another process holds the lock.
    """
    with contextlib.ExitStack() as stack:
        try:
            make_output(output)
            with _writable(output):
                stack.enter_context(files.locked(os.path.join(output, "lock")))
        except BlockingIOError as error:
            raise RunError(
                f"--output={output} is in use by another process; {does}."
            ) from error
        yield


def make_output(output: str) -> None:
    """Creates the directory of the flag --output if it is missing.

    Raises:
        ConfigError: it cannot be created.
    """
    with _writable(output):
        os.makedirs(output, exist_ok=True)


@contextlib.contextmanager
def _writable(output):
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise ConfigError(
            f"--output={output} must be a directory that can be written: "
            f"{error}."
        ) from error


def task_of(settings: Settings) -> str:
    """Returns the task that runs are compared by."""
    if settings.training.early_stopping_task:
        return settings.training.early_stopping_task
    if settings.data.synthetic:
        return settings.data.synthetic_tasks[0]
    return settings.data.read_features().tasks[0].name


def versions_of(*packages: str) -> dict[str, str]:
    """Returns the versions of wukong_tf and of installed packages.

    A checkout may have other default sizes than another of the same version,
    so their digest is among them.
    """
    defaults = {
        f"{name}.{field.name}": repr(field.default)
        for name, config in sorted(MODEL_CONFIGS.items())
        for field in dataclasses.fields(config)
        if field.default is not dataclasses.MISSING
    }
    digest = hashlib.sha256(json.dumps(defaults).encode()).hexdigest()
    versions = {name: metadata.version(name) for name in packages}
    return {
        "wukong_tf": wukong_tf.__version__,
        "default sizes": digest[:12],
        **versions,
    }


def data_of(
    settings: Settings, splits: Sequence[str], program: str
) -> dict[str, Any]:
    """Returns what identifies the rows and features, by digests.

    Args:
        settings: settings of the trainer.
        splits: the splits, of which every file is read.
        program: what needs the rows, for the error's text.

    Raises:
        ConfigError: a split is not given.
        DataError: a file is missing.
    """
    data = settings.data
    if data.synthetic:
        return {"synthetic_seed": data.synthetic_seed}
    spec = json.dumps(data.read_features().to_dict(), sort_keys=True)
    digest = hashlib.sha256(spec.encode()).hexdigest()
    record: dict[str, Any] = {"features": {"files": 1, "sha256": digest}}
    for split in splits:
        paths = expand(data.files(split))
        if not paths:
            raise ConfigError(
                f"{program} needs {split} rows; give --data_dir with "
                f"{split}*.parquet in it, or --{split}_files, after --."
            )
        log(f"reading {len(paths)} {split} files for their SHA-256")
        digest = digest_of([files.sha256(path) for path in paths])
        record[split] = {"files": len(paths), "sha256": digest}
    return record


def digest_of(digests: Sequence[str]) -> str:
    """Returns one SHA-256 of several files, by theirs; that of one as it is."""
    if len(digests) == 1:
        return digests[0]
    text = "".join(f"{digest}\n" for digest in digests)
    return hashlib.sha256(text.encode()).hexdigest()


def claim(
    output: str,
    content: Mapping[str, Any],
    begun: bool,
    *,
    grows: Collection[str] = (),
    before: Mapping[str, Any] | None = None,
    writes: bool = True,
) -> str:
    """Writes OUTPUT/study.json, or checks that it is of the same plan.

    Args:
        output: the locked directory of the study.
        content: the plan as JSON values.
        begun: whether a run has begun; before that, the plan may change.
        grows: names of lists that may have more entries than before. Defaults
            to none.
        before: the plan as other files record it, which may lie there without
            study.json. Defaults to None, not recorded.
        writes: whether the file is written if all is well. Defaults to True.

    Returns:
        The study's id, which is unique in a store of several studies; a new
        one if no run has begun.

    Raises:
        RunError: the directory belongs to another study, whose differences
            the message names, or to another program.
    """
    path = os.path.join(output, PLAN)
    content = json.loads(json.dumps(content))
    study = uuid.uuid4().hex
    plans = [dict(before)] if before else []
    if os.path.exists(path):
        found, plan = _read_plan(path)
        if begun:
            study = found
            plans.append(plan)
        elif {*plan} != {*content}:
            raise RunError(
                f"{path}: is the plan of another program or version; choose "
                "another --output."
            )
    for plan in plans:
        grown = {
            name: content[name]
            for name in grows
            if {*plan.get(name, ())} <= {*content[name]}
        }
        if different := list(changed({**plan, **grown}, content)):
            raise RunError(
                f"--output={output} belongs to another study; different: "
                f"{'; '.join(different)}. Choose another --output, or the same "
                "flags as before."
            )
    if writes:
        files.write_json(path, {"id": study, **content})
    return study


def _read_plan(path) -> tuple[str, dict[str, Any]]:
    """Returns the id of a study and its plan."""
    try:
        with open(path, encoding="utf-8") as file:
            plan = schema.parse_json(file.read(), path)
        return plan.pop("id"), plan
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RunError(f"{path}: is not a plan of a study: {error}.") from error


def changed(before: Any, now: Any, prefix: str = "") -> Iterator[str]:
    """Yields a text for each value in which two plans differ."""
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from changed(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key} was {old}, is {new}"
