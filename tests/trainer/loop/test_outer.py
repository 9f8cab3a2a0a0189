"""The outer loop: when it wakes, what it counts, and what ends it."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from trainer.data.pipeline import GLOBAL_ROWS
from trainer.loop import outer
from trainer.loop.outer import make_run_steps
from trainer.loop.progress import Progress, Schedule, make_schedule
from trainer.loop.step_clock import StepClock
from trainer.settings import Training
from wukong_tf.errors import DataError, TrainingError
from wukong_tf.metrics import SCALARS

SCHEDULES = [
    Schedule(23, 7, 5),
    Schedule(23, 7, 5, eval_every=4),
    Schedule(23, 7, 50, checkpoint_every=6),
    Schedule(23, 50, 50, window=3),
    Schedule(23, 50, 50, also=(2, 11, 23)),
    Schedule(23, 7, 4, eval_every=5, checkpoint_every=9, window=8, also=(1,)),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_host_wakes_at_every_step_that_something_is_due(schedule):
    every = schedule.eval_every or schedule.steps_per_epoch
    due = {schedule.total_steps, *schedule.also}
    for period in (
        every,
        schedule.steps_per_loop,
        schedule.checkpoint_every,
        schedule.window,
    ):
        if period:
            due |= set(range(period, schedule.total_steps + 1, period))
    for step in range(schedule.total_steps):
        wanted = min(other for other in due if other > step)
        assert schedule.next_stop(step) == wanted
    for step in range(1, schedule.total_steps + 1):
        last = step == schedule.total_steps
        evaluates = last or step in range(every, step + 1, every)
        assert schedule.evaluates_at(step) == evaluates
        period = schedule.checkpoint_every
        saves = bool(period) and step in range(period, step + 1, period)
        assert schedule.checkpoints_at(step) == saves


@pytest.mark.parametrize("rows", [1, 8, 40, 41, 77, 1_999_999])
@pytest.mark.parametrize("given", [0, 3])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_of_any_length_has_several_evaluations(rows, given, epochs):
    training = Training(batch_size=8, eval_every_steps=given, epochs=epochs)
    schedule = make_schedule(rows, training)
    of_epoch = math.ceil(rows / 8)
    assert schedule.total_steps == epochs * of_epoch
    every = given or (of_epoch if epochs > 1 else math.ceil(of_epoch / 5))
    steps = range(1, schedule.total_steps + 1)
    if rows < 100:
        due = [step for step in steps if schedule.evaluates_at(step)]
        assert due == sorted({*steps[every - 1 :: every], steps[-1]})
        assert given or len(due) >= min(2, len(steps))
    said = schedule.describe(evaluates=True)
    assert f" {every:,} steps" in said and f"{len(steps):,} steps" in said
    assert "evaluated" not in schedule.describe(evaluates=False)


BATCHES = [  # of unequal numbers of rows
    ([1.0, 2.0, 3.0, 4.0], 4),
    ([5.0], 1),
    ([6.0, 8.0], 2),
    ([10.0, 10.0, 11.0, 12.0, 17.0], 5),
]


def dataset(batches):
    def rows():
        for values, count in batches:
            yield {"x": np.float32(values), GLOBAL_ROWS: np.float32(count)}

    return tf.data.Dataset.from_generator(
        rows,
        output_signature={
            "x": tf.TensorSpec([None], tf.float32),
            GLOBAL_ROWS: tf.TensorSpec([], tf.float32),
        },
    )


def mean_step(batch):
    """The mean of the rows, as a step gives its loss."""
    return tf.reduce_mean(batch["x"])


def summing_step(batch):
    sums = tf.ones([2, len(SCALARS)], tf.float64)
    return mean_step(batch), sums * tf.cast(tf.size(batch["x"]), tf.float64)


def run(batches, steps, step=mean_step, **options):
    run_steps = make_run_steps(tf.distribute.get_strategy(), step, **options)
    found = run_steps(iter(dataset(batches)), tf.constant(steps))
    return [part.numpy() for part in found]


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_every_row_counts_once_in_the_loss(steps):
    """However large its batch is, and those before it were."""
    loss_sum, rows, local, bad, sums = run(BATCHES, steps)
    values = [value for batch, _ in BATCHES[:steps] for value in batch]
    assert loss_sum == pytest.approx(sum(values), rel=1e-6)
    assert rows == local == len(values)
    assert bad == -1 and sums.shape == (0, len(SCALARS))


def test_sums_of_tasks_add_up_over_steps():
    *_, sums = run(BATCHES, 3, summing_step, tasks=2)
    np.testing.assert_array_equal(sums, np.full((2, len(SCALARS)), 7.0))


def test_rows_of_other_workers_are_not_this_one_s():
    batches = [(values, 3 * count) for values, count in BATCHES]
    loss_sum, rows, local, *_ = run(batches, 2)
    assert (rows, local) == (15, 5)
    assert loss_sum == pytest.approx(2.5 * 12 + 5.0 * 3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_loss_that_is_not_finite_ends_the_steps(value, place):
    batches = list(BATCHES)
    batches[place] = ([value], 1)
    _, rows, _, bad, _ = run(batches, 4)
    assert bad == place
    assert rows == 1 + sum(count for _, count in BATCHES[:place])


class Fixture:
    """A loop over BATCHES, in rounds, with what it called noted."""

    def __init__(self, batches=BATCHES, error=None):
        self.pipeline = SimpleNamespace(error=error)
        self.calls = []
        self.chunks = []
        self.iterators = 0
        self._batches = batches
        self.clock = StepClock(now=itertools.count().__next__)

    def iterate(self, pipeline):
        assert pipeline is self.pipeline
        self.iterators += 1
        return iter(dataset(self._batches))

    def action(self, name):
        def act(progress, chunk):
            self.calls.append((name, progress.step))
            if name == "first":
                self.chunks.append(chunk)

        return act

    def train(self, schedule, progress, stops=lambda: False):
        strategy = tf.distribute.get_strategy()
        outer.train(
            distribution=self,
            run_steps=make_run_steps(strategy, mean_step, clock=self.clock),
            clock=self.clock,
            pipeline=self.pipeline,
            progress=progress,
            schedule=schedule,
            actions=[self.action("first"), self.action("second")],
            should_stop=stops,
        )


def test_chunks_and_progress_hold_what_was_trained_on():
    fixture, progress = Fixture(), Progress(rows=100, seconds=9.0)
    fixture.train(Schedule(4, 4, 3), progress)
    one, other = fixture.chunks
    assert (one.first_step, one.steps, one.rows) == (0, 3, 7)
    assert (other.first_step, other.steps, other.rows) == (3, 1, 5)
    assert (one.local_rows, other.local_rows) == (7, 5)
    assert one.loss == pytest.approx(29 / 7)
    assert other.loss == pytest.approx(12.0)
    assert one.sums is None and len(one.times.steps) == 3
    assert (progress.step, progress.rows) == (4, 112)
    # A second passes whenever the time is read: as a step asks for its batch,
    # as it has it, and as a chunk begins and ends.
    np.testing.assert_array_equal(one.times.steps, [2, 2, 2])
    assert [w.seconds for w in fixture.chunks] == [8, 4]
    assert one.input_wait == pytest.approx(3 / 8)
    assert other.input_wait == pytest.approx(1 / 4)
    assert progress.input_seconds == pytest.approx(3 + 1)
    assert progress.seconds == 9.0 + 8 + 4
    assert fixture.calls == [
        (name, step) for step in (3, 4) for name in ("first", "second")
    ]
    assert fixture.iterators == 1
    assert progress.to_dict()["rows"] == 112


def test_a_run_goes_on_from_its_step_and_ends_at_its_last():
    fixture, progress = Fixture(), Progress(step=2)
    fixture.train(Schedule(4, 4, 10), progress)
    assert [(w.first_step, w.steps) for w in fixture.chunks] == [(2, 2)]
    fixture.train(Schedule(4, 4, 10), progress)
    assert fixture.iterators == 1  # nothing was due


def test_a_stop_ends_the_loop_after_a_chunk():
    fixture, progress = Fixture(), Progress()
    fixture.train(Schedule(4, 4, 1), progress, lambda: progress.step == 2)
    assert progress.step == 2 and len(fixture.chunks) == 2
    fixture, progress = Fixture(), Progress(stopped_early=True)
    fixture.train(Schedule(4, 4, 1), progress)
    assert progress.step == 0 and fixture.iterators == 0


def test_the_step_whose_loss_is_not_finite_is_named():
    fixture, progress = Fixture([*BATCHES[:2], ([math.nan], 1)]), Progress()
    with pytest.raises(TrainingError, match="loss of step 3 is not finite"):
        fixture.train(Schedule(4, 4, 2), progress)
    assert progress.step == 2 and len(fixture.chunks) == 1


def test_what_reading_raised_is_raised():
    fixture = Fixture(BATCHES[:1], DataError("file and row"))
    with pytest.raises(DataError, match="file and row"):
        fixture.train(Schedule(4, 4, 4), Progress())
    with pytest.raises(tf.errors.OpError):
        Fixture(BATCHES[:1]).train(Schedule(4, 4, 4), Progress())


def test_the_first_step_is_timed_once_when_it_ends():
    """Alone in its chunk, or as soon as the second one begins."""
    for every in (1, 3):
        fixture, took = Fixture(), []
        fixture.clock = StepClock(
            now=itertools.count().__next__, on_first=took.append
        )
        fixture.train(Schedule(4, 4, every), Progress())
        # The times of asking, of getting, and of the end or the next asking.
        assert took == [2]
