"""Runs tasks: in processes of this machine, or on Apache Beam."""

import concurrent.futures
import concurrent.futures.process
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tqdm

from trainer.preparation.job import Job
from wukong_tf.errors import WukongError

Task = Callable[[Job, Any], None]


class Runner(Protocol):
    """Runs a task for each of some items."""

    def __call__(
        self, what: str, task: Task, job: Job, items: Sequence[Any]
    ) -> None:
        """Runs the task for each item, in any order.

        Args:
            what: name of the tasks, for progress messages.
            task: the function to call.
            job: its first argument.
            items: values of its second argument.
        """
        ...


class WorkerLost(WukongError):
    """A process ended during a task."""


class Processes:
    """Runs tasks in processes of this machine.

    Args:
        workers: number of processes; with one, tasks run in this process.
    """

    def __init__(self, workers: int):
        self._workers = workers

    def __call__(self, what, task, job, items):
        """Runs the task for each item."""
        with tqdm.tqdm(
            desc=what, total=len(items), disable=not sys.stderr.isatty()
        ) as bar:
            if self._workers == 1 or len(items) == 1:
                for item in items:
                    task(job, item)
                    bar.update()
                return
            # Forking a process with threads, like TensorFlow's, may hang.
            context = multiprocessing.get_context("spawn")
            with concurrent.futures.ProcessPoolExecutor(
                min(self._workers, len(items)), mp_context=context
            ) as pool:
                waiting = {pool.submit(task, job, item) for item in items}
                try:
                    for done in concurrent.futures.as_completed(waiting):
                        done.result()
                        bar.update()
                except concurrent.futures.process.BrokenProcessPool as error:
                    raise WorkerLost(
                        "a process was killed, perhaps because memory ran "
                        "out; fewer --workers or a smaller --shard_mb need "
                        "less. Finished work is kept; the same command "
                        "resumes."
                    ) from error
                except BaseException:
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise


class Beam:
    """Runs tasks on Apache Beam, whose workers must see the same files.

    Args:
        runner: name of a Beam runner, such as "DirectRunner".
        options: options of that runner, such as "--region=...".

    Raises:
        ImportError: Apache Beam is not installed.
    """

    def __init__(self, runner: str, options: Sequence[str] = ()):
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions

        self._beam = apache_beam
        self._options = PipelineOptions(list(options), runner=runner)

    def __call__(self, what, task, job, items):
        """Runs the task for each item, as one pipeline."""
        beam = self._beam
        with beam.Pipeline(options=self._options) as pipeline:
            (
                pipeline
                | f"{what}: items" >> beam.Create(list(items))
                | f"{what}: spread" >> beam.Reshuffle()
                | what >> beam.Map(lambda item: task(job, item))
            )
