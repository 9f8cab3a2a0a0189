"""Writes checkpoints to a temporary folder, which is then renamed."""

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from trainer.checkpoints.arrays import write_array
from wukong_tf import files, runs
from wukong_tf.errors import RunError, TrainingError
from wukong_tf.runs.arrays import StoredRows

UNFINISHED = ".unfinished-"
SHARDS = "-shards"  # of workers, next to the unfinished checkpoint
_CORRUPTED = ".corrupted-"


def save(
    run_dir: str,
    step: int,
    state: dict[str, Any],
    arrays: Iterable[tuple[str, StoredRows | np.ndarray]],
) -> tuple[str, int]:
    """Writes a checkpoint and returns its directory and size in bytes.

    Args:
        run_dir: the run directory.
        step: training steps done.
        state: the trainer's state, JSON values.
        arrays: canonical names and arrays, read in chunks.

    Raises:
        RunError: it could not be written, such as on a full disk; earlier
            checkpoints are unchanged.
        TrainingError: an array is not finite; nothing was written.
    """
    folder = os.path.join(run_dir, runs.CHECKPOINTS)
    final = os.path.join(folder, f"step-{step:010d}")
    temporary = os.path.join(folder, f"{UNFINISHED}{step:010d}")
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)  # must not recreate a deleted run directory
        files.remove(temporary)
        os.mkdir(temporary)
        entries = {
            name: write_array(temporary, f"{index:05d}.npy", name, array)
            for index, (name, array) in enumerate(arrays)
        }
        content = {
            "format": runs.FORMAT,
            "step": step,
            "state": state,
            "arrays": entries,
        }
        if (run := runs.identity(run_dir)) is not None:
            content["run"] = run
        content["digest"] = runs.digest(content)
        files.write_json(os.path.join(temporary, runs.INDEX), content)
        files.replace_folder(temporary, final)
        _remove_shards(folder, step)
        size = sum(entry.stat().st_size for entry in os.scandir(final))
    except TrainingError:
        files.remove(temporary)
        raise
    except (OSError, MemoryError) as error:
        files.remove(temporary)
        raise RunError(
            f"the checkpoint of step {step} could not be written to "
            f"{folder}: {str(error) or 'out of memory'}. Earlier checkpoints "
            "are intact."
        ) from error
    return final, size


def _remove_shards(folder, step):
    """Removes what workers wrote for this and earlier checkpoints."""
    for name in os.listdir(folder):
        if name.startswith(UNFINISHED) and name.endswith(SHARDS):
            number = name[len(UNFINISHED) : -len(SHARDS)]
            if number.isdigit() and int(number) <= step:
                files.remove(os.path.join(folder, name))


def mark_best(run_dir: str, step: int, metric: str, value: float):
    """Records in a file that the checkpoint of `step` is the best so far.

    Raises:
        RunError: the file could not be written; the earlier one stays.
    """
    path = os.path.join(run_dir, runs.CHECKPOINTS, runs.BEST)
    try:
        files.write_json(path, {"step": step, "metric": metric, "value": value})
    except OSError as error:
        raise RunError(
            f"the best step, {step}, could not be recorded in {path}: {error}."
        ) from error


def restore_best(
    run_dir: str,
    evaluations: list[dict[str, Any]],
    metric: str,
    better: Callable[[float, float], bool],
    log: Callable[[str], None],
) -> runs.Checkpoint | None:
    """Updates the record of the best checkpoint, and returns that checkpoint.

    The record may name a later checkpoint, which was skipped as corrupted, or
    an earlier one, if the run was killed before writing it. If the best
    checkpoint is missing or corrupted, the best intact one replaces it, and
    `evaluations` is changed so that later ones are compared with that one.
    Returns None before the first evaluation, or if all are lost.

    Args:
        run_dir: the run directory.
        evaluations: those of the checkpoint that the run resumes from.
        metric: name of the metric that evaluations are compared by.
        better: returns whether its first value is better than its second.
        log: called with a line if the best checkpoint is lost.

    Raises:
        RunError: the best one cannot be read although it may be intact, or
            the record cannot be written.
    """
    paths = dict(runs.checkpoint_paths(run_dir))
    while best := [e for e in evaluations if e["best"]]:
        step = best[-1]["step"]
        try:
            if step not in paths:
                raise RunError(f"{run_dir}: step {step} is missing.")
            best_checkpoint = runs.open_checkpoint(paths[step])
            runs.check_owner(run_dir, best_checkpoint)
        except RunError as error:
            if runs.may_be_whole(error):
                raise
            log(f"the best checkpoint is lost: {error}")
            if step in paths:
                _set_aside(paths.pop(step))
            _forget(evaluations, step, set(paths), better)
            continue
        mark_best(run_dir, step, metric, best[-1]["value"])
        return best_checkpoint
    files.remove(os.path.join(run_dir, runs.CHECKPOINTS, runs.BEST))
    return None


def _forget(evaluations, lost, steps, better):
    """Marks the best of the evaluations whose checkpoints exist."""
    best = None
    for evaluation in evaluations:
        evaluation["best"] = False
        if evaluation["step"] == lost:
            evaluation["value"] = None
        value = evaluation["value"]
        if evaluation["step"] not in steps or value is None:
            continue
        if best is None or better(value, best["value"]):
            best = evaluation
    if best is not None:
        best["best"] = True


def prune(
    run_dir: str,
    keep: int,
    every: int = 0,
    log: Callable[[str], None] = lambda line: None,
):
    """Removes old checkpoints, except those that are being read.

    Args:
        run_dir: the run directory.
        keep: number of newest checkpoints to keep; the best is kept too.
        every: also keeps steps that are a multiple of it. Defaults to 0,
            none.
        log: called with a line for each that cannot be removed. Defaults to
            doing nothing.
    """
    try:
        best = runs.best_step(run_dir)
    except RunError as error:
        log(f"{error} No checkpoint is removed until it names the best one.")
        return
    for step, path in runs.checkpoint_paths(run_dir)[:-keep]:
        keeps = step == best or (every and step % every == 0)
        if not keeps and not files.is_held(os.path.join(path, runs.INDEX)):
            # Renamed first, so that no reader sees it partly removed.
            folder, name = os.path.split(path)
            removed = os.path.join(folder, f"{UNFINISHED}{name}-removed")
            files.remove(removed)
            try:
                os.rename(path, removed)
            except OSError as error:
                log(f"a checkpoint cannot be removed: {error}")
            files.remove(removed)


def remove_unfinished(run_dir: str):
    """Removes unfinished checkpoints of a killed writer, but no intact one."""
    folder = os.path.join(run_dir, runs.CHECKPOINTS)
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if name.startswith(UNFINISHED):
                files.remove(path)
            elif name.endswith(files.REPLACED):
                files.restore_folder(path.removesuffix(files.REPLACED))


def newest_whole(run_dir: str, log) -> runs.Checkpoint | None:
    """Returns the newest checkpoint whose checksums match, or None.

    Corrupted newer ones are renamed, so that none is taken for the newest
    from then on.

    Args:
        run_dir: the run directory.
        log: called with a line for each corrupted one that is skipped.

    Raises:
        RunError: there are checkpoints, but all are corrupted, one cannot
            be read although it may be intact, or the newest intact one
            belongs to another run.
    """
    paths = runs.checkpoint_paths(run_dir)
    corrupted = []
    for _, path in reversed(paths):
        try:
            newest = runs.open_checkpoint(path)
        except RunError as error:
            if runs.may_be_whole(error):
                raise
            log(f"{error} Falling back to the checkpoint before it.")
            corrupted.append(path)
            continue
        runs.check_owner(run_dir, newest)
        for path in corrupted:
            _set_aside(path)
        return newest
    if paths:
        raise RunError(
            f"{run_dir}: all {len(paths)} checkpoints are corrupted; choose "
            "another --run_dir."
        )
    return None


def set_aside(run_dir: str, step: int) -> int:
    """Renames the checkpoints after a step, and returns their number.

    None is renamed if the one of `step`, which the run could resume from,
    is gone.
    """
    paths = runs.checkpoint_paths(run_dir)
    if step and step not in dict(paths):
        return 0
    later = [path for number, path in paths if number > step]
    for path in later:
        _set_aside(path)
    return len(later)


def _set_aside(path):
    folder, name = os.path.split(path)
    aside = os.path.join(folder, f"{_CORRUPTED}{name}")
    files.remove(aside)
    os.rename(path, aside)
