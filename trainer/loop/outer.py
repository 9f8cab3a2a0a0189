"""The outer loop: runs many steps at a time, and actions between them."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.pipeline import GLOBAL_ROWS, Pipeline
from trainer.distribution.strategies import Distribution
from trainer.loop.progress import Action, LoopChunk, Progress, Schedule
from trainer.loop.step_clock import ASKED, GOT, StepClock
from trainer.settings.optimization import IF_DIVERGED
from wukong_tf.errors import TrainingError
from wukong_tf.metrics import SCALARS


def make_run_steps(
    strategy: tf.distribute.Strategy,
    train_step: Callable,
    tasks: int = 0,
    clock: StepClock | None = None,
) -> Callable:
    """Returns a tf.function that runs many training steps.

    It takes an iterator and a number of steps, and returns the loss summed
    over rows, the number of rows, the number on this worker, the index of
    the first step whose loss is not finite, at which it stops, or -1, and
    the sums [tasks, sums] of the steps.

    Args:
        strategy: the distribution strategy.
        train_step: returns a replica's part of the loss and, if `tasks` is
            not 0, of the sums.
        tasks: number of tasks whose sums the step returns. Defaults to 0.
        clock: records when a step asks for and gets a batch. Defaults to None.
    """
    clock = clock or StepClock()

    def body(iterator, index, loss_sum, rows, local, bad, sums):
        with tf.control_dependencies([clock.mark(ASKED)]):
            batch = next(iterator)
        global_rows = strategy.experimental_local_results(batch[GLOBAL_ROWS])
        clock.mark(GOT, *global_rows)
        local += _local_rows(strategy, batch)
        parts = strategy.run(train_step, args=(batch,))
        if tasks:
            parts, task_sums = parts
            sums += strategy.reduce("SUM", task_sums, axis=None)
        loss = strategy.reduce("SUM", parts, axis=None)
        count = tf.cast(global_rows[0], tf.float64)
        bad = tf.where(tf.math.is_finite(loss), bad, index)
        loss_sum += tf.cast(loss, tf.float64) * count
        return index + 1, loss_sum, rows + count, local, bad, sums

    @tf.function(autograph=False)
    def run_steps(iterator, steps):
        zero = tf.zeros([], tf.float64)
        _, *results = tf.while_loop(
            lambda index, loss, rows, local, bad, sums: (
                (index < steps) & (bad < 0)
            ),
            lambda *state: body(iterator, *state),
            (
                tf.constant(0),
                zero,
                zero,
                tf.constant(0),
                tf.constant(-1),
                tf.zeros([tasks, len(SCALARS)], tf.float64),
            ),
            # Parallel iterations would hide the wait for input.
            parallel_iterations=1,
        )
        return results

    return run_steps


def _local_rows(strategy, batch):
    """Returns the number of a batch's rows on this worker's replicas."""
    name = next(name for name in batch if name != GLOBAL_ROWS)
    parts = strategy.experimental_local_results(batch[name])
    return tf.add_n([tf.shape(part)[0] for part in parts])


def train(
    *,
    distribution: Distribution,
    run_steps: Callable,
    clock: StepClock,
    pipeline: Pipeline,
    progress: Progress,
    schedule: Schedule,
    actions: Sequence[Action],
    should_stop: Callable[[], bool],
):
    """Trains from `progress.step` to the schedule's end or a stop.

    Args:
        distribution: the devices to compute on.
        run_steps: the result of `make_run_steps`.
        clock: the clock of `run_steps`.
        pipeline: the training rows, from the batch of `progress.step` on.
        progress: updated in place.
        schedule: steps at which control returns to the host.
        actions: called in order after every loop chunk.
        should_stop: called after every loop chunk, by all workers alike; True
            ends the loop.

    Raises:
        TrainingError: a loss was not finite; the message names the step.
        Exception: any error raised while reading the rows.
    """
    iterator = None
    while progress.step < schedule.total_steps:
        if progress.stopped_early or should_stop():
            return
        if iterator is None:  # created only once a step is due
            iterator = distribution.iterate(pipeline)
        stop = schedule.next_stop(progress.step)
        chunk = _run_chunk(
            run_steps, clock, iterator, pipeline, progress.step, stop
        )
        progress.step = stop
        progress.rows += chunk.rows
        progress.seconds += chunk.seconds
        progress.input_seconds += chunk.input_wait * chunk.seconds
        for action in actions:
            action(progress, chunk)


def _run_chunk(run_steps, clock, iterator, pipeline, step, stop):
    clock.start()
    began = clock.now()
    try:
        results = run_steps(iterator, tf.constant(stop - step))
    except tf.errors.OpError as error:
        raise (pipeline.error or error) from None
    loss_sum, rows, local, bad, sums = (part.numpy() for part in results)
    times = clock.end()
    seconds = clock.now() - began
    if bad >= 0:
        raise TrainingError(
            f"the loss of step {step + int(bad) + 1} is not finite. The run "
            f"resumes from its last checkpoint. {IF_DIVERGED}"
        )
    return LoopChunk(
        first_step=step,
        steps=stop - step,
        rows=int(rows),
        loss=float(loss_sum / np.maximum(rows, 1)),
        seconds=seconds,
        input_wait=times.input_wait / seconds,
        sums=sums if len(sums) else None,
        times=times,
        local_rows=int(local),
    )
