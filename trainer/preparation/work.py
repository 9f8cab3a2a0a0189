"""Builds the job that the flags describe, and runs it in one process."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator

import pyarrow as pa

from trainer.preparation import earlier as earlier_preparation
from trainer.preparation import (
    extension,
    raw_kinds,
    runners,
    shards,
    specs,
    tasks,
)
from trainer.preparation.earlier import Earlier
from trainer.preparation.inputs import Source
from trainer.preparation.job import Job, learned_counts, make_spec
from trainer.preparation.settings import Prepare
from wukong_tf import extras, files
from wukong_tf.config import FeatureSpec, schema
from wukong_tf.errors import ConfigError, DataError, WukongError, one_line


def runner(settings: Prepare) -> runners.Runner:
    """Returns the runner of tasks: processes, or Beam's --runner.

    Raises:
        ConfigError: Apache Beam is not installed.
    """
    if settings.runner is None:
        return runners.Processes(settings.workers or os.cpu_count() or 1)
    try:
        return runners.Beam(settings.runner, settings.beam_option)
    except ImportError as error:
        raise ConfigError(
            f"--runner={settings.runner} needs Apache Beam: {error}. Run "
            f"{extras.install('wukong_tf[beam]')}, in a separate environment "
            "if its pinned versions require one."
        ) from error


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Locks the directory of unfinished work against other processes.

    A new directory is removed after a user's error, and stays if the work
    was interrupted.
    """
    new = not os.path.isdir(folder)
    os.makedirs(folder, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.locked(os.path.join(folder, "lock")))
        except BlockingIOError:
            raise DataError(
                f"{folder} is in use by another process that prepares the same "
                "output."
            ) from None
        try:
            yield
        except runners.WorkerLost:
            raise  # the same command resumes
        except WukongError:
            if new or not os.path.exists(os.path.join(folder, "plan.json")):
                files.remove(folder)
            raise


def make_job(
    settings: Prepare,
    source: Source,
    folder: str,
    earlier: Earlier | None = None,
) -> Job:
    """Returns the job of the flags and the files, cut into shards.

    Raises:
        DataError: there are no rows, or no earlier preparation.
        ConfigError: the recipe is invalid, or ids of --extend would be lost.
    """
    specs.check(source.recipe)
    planned = shards.plan(source.files, settings.shard_mb * 10**6)
    if not planned:
        raise DataError(f"--input={settings.input}: there are no rows.")
    recipe, oov_buckets = source.recipe, settings.oov_buckets
    extended: extension.Words = ()
    if earlier is not None:
        oov_buckets = earlier.oov_buckets
    elif settings.extend:
        before = earlier_preparation.read("extend", settings.extend)
        recipe = raw_kinds.resolved(recipe, source.files, before.spec)
        extended = extension.words_of(before, recipe)
        oov_buckets = extension.oov_buckets_of(before, settings)
        extension.print_full(extended, settings.max_vocabulary)
    else:
        recipe = raw_kinds.resolved(recipe, source.files)
    return Job(
        folder,
        recipe,
        source.rule,
        source.files,
        tuple(planned),
        settings.min_count or source.min_count,
        settings.max_vocabulary,
        oov_buckets,
        source.vectors,
        extended,
        None if earlier is None else earlier.digest,
    )


def claim(job: Job):
    """Records the job, or checks that unfinished work is of the same job.

    Raises:
        ConfigError: the unfinished work is of other flags or files.
    """
    stamps = [
        [file.path, os.path.getsize(file.path), os.stat(file.path).st_mtime_ns]
        for file in job.files
    ]
    content = {
        "files": stamps,
        "job": dataclasses.asdict(dataclasses.replace(job, folder="")),
        "pyarrow": pa.__version__,
    }
    text = json.dumps(content, sort_keys=True)
    plan = {"digest": hashlib.sha256(text.encode()).hexdigest()}
    path = os.path.join(job.folder, "plan.json")
    if os.path.exists(path):
        try:
            before = schema.read_json(path)
        except WukongError as error:
            raise ConfigError(
                f"{one_line(error)} Remove {job.folder}, which holds "
                "unfinished work; the same command makes it again."
            ) from error
        if before != plan:
            raise ConfigError(
                f"{job.folder} holds the unfinished work of other flags "
                "or files; remove it, or use the same flags and files."
            )
        _remove_partial(job.folder)
        print(f"resuming from {job.folder}")
        return
    kinds = (
        "files", "counts", "learned", "vocabulary", "vectors", "done", "output",
    )  # fmt: skip
    for kind in kinds:
        os.makedirs(os.path.join(job.folder, kind), exist_ok=True)
    files.write_json(path, plan)


def _remove_partial(folder):
    """Removes the files that a killed process had not finished."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if f"{files.UNFINISHED}-" in name:
                files.remove(os.path.join(parent, name))


def run(
    job: Job, run_all: runners.Runner, earlier: Earlier | None = None
) -> FeatureSpec:
    """Runs all tasks in the order of their dependencies."""
    numbers = range(len(job.shards))
    run_all("checksums", tasks.checksum, job, range(len(job.files)))
    if earlier is not None:
        for table, words in earlier.vocabularies.items():
            tasks.keep_vocabulary(job, table, words)
    else:
        _learn(job, run_all, numbers)
    if job.vectors:
        run_all("vectors", tasks.read_vectors, job, list(job.vectors))
    run_all("encode", tasks.encode, job, numbers)
    return make_spec(job) if earlier is None else earlier.spec


def _learn(job, run_all, numbers):
    """Counts the train rows, and makes their vocabularies."""
    run_all("count", tasks.count, job, numbers)
    if job.divides:
        run_all("learn", tasks.learn, job, numbers)
    if not learned_counts(job).rows:
        raise DataError("there are no train rows.")
    if job.tables:
        run_all("vocabularies", tasks.make_vocabulary, job, job.tables)
