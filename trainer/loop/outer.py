"""The outer loop: runs many steps at a time, and wakes for what is due."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.pipeline import GLOBAL_ROWS, Pipeline
from trainer.distribution.strategies import Distribution
from trainer.loop.progress import Action, Progress, Schedule, Window
from trainer.loop.step_clock import ASKED, GOT, StepClock
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
    over rows, the rows, those of this worker, the index of the first step
    whose loss is not finite, after which it ends, or -1, and the sums
    [tasks, sums] that the steps gave.

    Args:
        strategy: where to compute.
        train_step: to a replica's part of the loss, and, where there are
            `tasks`, of the sums.
        tasks: number of tasks whose sums the step gives. Defaults to 0.
        clock: notes when each step asked for its batch and got it. Defaults
            to None, a clock that nobody reads.
    """
    clock = clock or StepClock()

    def body(iterator, index, loss_sum, rows, local, bad, sums):
        with tf.control_dependencies([clock.mark(ASKED)]):
            batch = next(iterator)
        found = strategy.experimental_local_results(batch[GLOBAL_ROWS])
        clock.mark(GOT, *found)
        local += _local_rows(strategy, batch)
        parts = strategy.run(train_step, args=(batch,))
        if tasks:
            parts, more = parts
            sums += strategy.reduce("SUM", more, axis=None)
        loss = strategy.reduce("SUM", parts, axis=None)
        count = tf.cast(found[0], tf.float64)
        bad = tf.where(tf.math.is_finite(loss), bad, index)
        loss_sum += tf.cast(loss, tf.float64) * count
        return index + 1, loss_sum, rows + count, local, bad, sums

    @tf.function
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
            # One after the other, or the wait for input is not measured.
            parallel_iterations=1,
        )
        return results

    return run_steps


def _local_rows(strategy, batch):
    """Rows of a batch that this worker's replicas have."""
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
    """Trains from `progress.step` until the schedule or a stop ends it.

    Args:
        distribution: where to compute.
        run_steps: as `make_run_steps` gives it.
        clock: that of `run_steps`.
        pipeline: the training rows, from the batch of `progress.step` on.
        progress: moved on in place.
        schedule: when to look up.
        actions: called in order at every wake-up.
        should_stop: asked after every wake-up, by all workers alike; True
            ends the loop.

    Raises:
        TrainingError: a loss was not finite; the message names the step.
        Exception: whatever reading the rows raised.
    """
    iterator = None
    while progress.step < schedule.total_steps:
        if progress.stopped_early or should_stop():
            return
        if iterator is None:  # not before it is known that a step is due
            iterator = distribution.iterate(pipeline)
        stop = schedule.next_stop(progress.step)
        window = _run_window(
            run_steps, clock, iterator, pipeline, progress.step, stop
        )
        progress.step = stop
        progress.rows += window.rows
        progress.seconds += window.seconds
        progress.input_seconds += window.input_wait * window.seconds
        for action in actions:
            action(progress, window)


def _run_window(run_steps, clock, iterator, pipeline, step, stop):
    clock.start()
    began = time.perf_counter()
    try:
        results = run_steps(iterator, tf.constant(stop - step))
    except tf.errors.OpError as error:
        raise (pipeline.error or error) from None
    loss_sum, rows, local, bad, sums = (part.numpy() for part in results)
    times = clock.end()
    seconds = time.perf_counter() - began
    if bad >= 0:
        raise TrainingError(
            f"the loss of step {step + int(bad) + 1} is not finite. Nothing "
            "was saved since the last checkpoint. A lower --learning_rate or "
            "--table_learning_rate, --clipnorm or --warmup_steps may help."
        )
    return Window(
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
