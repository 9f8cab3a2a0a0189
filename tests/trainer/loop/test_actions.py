"""What happens between loop chunks: bests, patience, checkpoints."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from trainer.checkpoints.writer import LAST_TRIES, Saved
from trainer.loop import actions
from trainer.loop.actions import Evaluate, is_best
from trainer.loop.progress import LoopChunk, Progress, Schedule
from trainer.loop.saving import SaveCheckpoint
from wukong_tf.errors import RunError, TrainingError

NAN = math.nan
SCHEDULE = Schedule(total_steps=40, steps_per_epoch=10, steps_per_loop=5)
SEQUENCES = [
    [0.5, 0.5, 0.6, 0.6, 0.5, 0.7],
    [0.5, 0.4, 0.4, 0.3, 0.4, 0.2],
    [NAN, 0.5, NAN, 0.5, 0.9, 0.1],
    [NAN, NAN, NAN, NAN],
    [math.inf, 0.5, -math.inf, 0.4],
    [0.0, -0.0, 1e-300, 0.0],
]


class Recorder:
    """Takes records, and lines of the log."""

    def __init__(self):
        self.records = []
        self.lines = []

    def write(self, kind, step, values):
        self.records.append((kind, step, values))


@pytest.fixture
def recorder(monkeypatch):
    found = Recorder()
    monkeypatch.setattr(actions, "log", found.lines.append)
    return found


def chunk(first_step=0, steps=5):
    return LoopChunk(first_step, steps, 50, 0.25, 2.0, 0.125)


def values(metric, value, rows=7):
    return {
        "auc": 0.5,
        "logloss": 0.25,
        "ne": 0.75,
        "calibration": 1.5,
        "rows": rows,
        metric: value,
    }


def evaluate(recorder, metric, sequence, patience=0, schedule=SCHEDULE):
    """An action whose evaluations of task "buy" give the sequence."""
    left = iter(sequence)

    ranks = SimpleNamespace(take=lambda: {})

    def results(source, on_first):
        assert source == "rows" and on_first is ranks
        found = {"click": values(metric, 0.125)}
        return found | {"buy": values(metric, next(left))}, None

    return Evaluate(
        SimpleNamespace(evaluate=results, ranks=ranks),
        "rows",
        schedule,
        recorder,
        metric=metric,
        task="buy",
        patience=patience,
        rates=SimpleNamespace(follow=lambda evaluations: False),
    )


def expected(metric, sequence):
    """Whether each value is the best so far, by a running best."""
    best, flags = None, []
    for value in sequence:
        good = not (math.isnan(value) or math.isinf(value))
        higher = metric in ("auc", "group_auc")
        better = good and (
            best is None or (value > best if higher else value < best)
        )
        best = value if better else best
        flags.append(better)
    return flags


@pytest.mark.parametrize("metric", ["auc", "group_auc", "logloss", "ne"])
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_the_best_is_better_than_all_before(recorder, metric, sequence):
    """An equal value is no better, and none that is not finite is."""
    act = evaluate(recorder, metric, sequence)
    progress = Progress()
    for number in range(len(sequence)):
        progress.step = 10 * (number + 1)
        act(progress, chunk(progress.step - 5))
    found = progress.evaluations
    assert [e["best"] for e in found] == expected(metric, sequence)
    assert [e["step"] for e in found] == [
        10 * (n + 1) for n in range(len(sequence))
    ]
    for one, value in zip(found, sequence, strict=True):
        assert one["value"] == (value if math.isfinite(value) else None)
    best = [n for n, flag in enumerate(expected(metric, sequence)) if flag]
    lines = [line for line in recorder.lines if "(best so far)" in line]
    assert [line.split(":")[0] for line in lines] == [
        f"step {10 * (n + 1)}" for n in best
    ]
    assert all("valid buy" in line for line in lines)
    assert not progress.stopped_early


@pytest.mark.parametrize("metric", ["auc", "logloss"])
@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("patience", [0, 1, 2, 3])
def test_patience_counts_evaluations_in_a_row_without_a_better_one(
    recorder, metric, sequence, patience
):
    act = evaluate(recorder, metric, sequence, patience)
    progress = Progress()
    waited, stopped = 0, False
    for number, better in enumerate(expected(metric, sequence)):
        progress.step = 10 * (number + 1)
        act(progress, chunk())
        waited = 0 if better else waited + 1
        stopped = waited >= patience > 0
        assert progress.stopped_early == stopped, (number, waited)
        if stopped:
            break
    assert ("stopping early" in recorder.lines[-1]) == stopped


def test_evaluations_come_when_they_are_due(recorder):
    schedule = Schedule(23, 10, 5, eval_every=4)
    act = evaluate(recorder, "auc", [0.5, 0.6, 0.7], schedule=schedule)
    progress = Progress()
    for step, first in ((3, 0), (4, 3), (7, 4), (12, 9), (22, 12), (23, 22)):
        progress.step = step
        act(progress, chunk(first))
    assert [(kind, step) for kind, step, _ in recorder.records] == [
        ("valid", 4),
        ("valid", 12),
        ("valid", 23),
    ]
    # The epoch of the chunk's first step.
    assert [r["epoch"] for _, _, r in recorder.records] == [0, 0, 2]
    assert recorder.records[0][2]["buy"] == values("auc", 0.5)


def test_why_there_is_no_auc_is_said(recorder):
    act = evaluate(recorder, "auc", [NAN])
    act(Progress(step=10), chunk())
    assert recorder.lines[-1].endswith(" - all 7 rows have one label")
    assert not recorder.lines[0].endswith("label")
    assert (
        "auc 0.12500, logloss 0.25000, ne 0.75000, calibration 1.5000"
        in (recorder.lines[0])
    )
    assert actions._undefined(values("auc", NAN, rows=0)) == (
        " - no row has a label"
    )


def test_nothing_is_best_after_what_is_better():
    earlier = [{"value": 0.5}, {"value": None}, {"value": 0.75}]
    assert not is_best(earlier, "auc", 0.6)
    assert is_best(earlier, "auc", 0.8)
    assert not is_best(earlier, "logloss", 0.6)
    assert is_best(earlier, "logloss", 0.4)


class Writer:
    """Takes checkpoints; those of `fails` could not be written."""

    def __init__(self, fails=None):
        self.saved = []
        self.due = []
        self.tries = None
        self._fails = fails

    def save(self, step, state, arrays, best):
        self.saved.append((step, best))
        assert state["step"] == step and arrays() == "arrays"
        self.due.append(Saved(f"step-{step}", step, 10, 2.0, 0.5))

    def take_saved(self):
        found, self.due = self.due, []
        return found

    def close(self, tries):
        self.tries = tries
        if self._fails:
            raise self._fails


def saving(recorder, writer, schedule):
    return SaveCheckpoint(writer, schedule, lambda: "arrays", recorder)


def note(step, value, best):
    return {"step": step, "value": value, "best": best}


def test_checkpoints_follow_evaluations_the_schedule_and_the_end(recorder):
    writer = Writer()
    act = saving(recorder, writer, Schedule(20, 100, 5, checkpoint_every=6))
    progress = Progress()
    for step in range(1, 21):
        progress.step = step
        if step in (4, 8, 12):
            progress.evaluations.append(note(step, step / 10, step != 8))
        act(progress, chunk())
    # A best belongs to the step that was evaluated, and to no later one.
    assert writer.saved == [
        (4, 0.4),
        (6, None),
        (8, None),
        (12, 1.2),
        (18, None),
        (20, None),
    ]
    assert recorder.records[0] == (
        "checkpoint",
        4,
        {"bytes": 10, "seconds": 2.0, "training_waited": 0.5},
    )
    assert len(recorder.records) == 6


def test_without_a_period_only_evaluations_and_the_end_are_saved(recorder):
    writer = Writer()
    act = saving(recorder, writer, Schedule(20, 100, 5))
    progress = Progress(evaluations=[note(4, 0.5, True)])
    for step in (3, 4, 5, 20):
        progress.step = step
        act(progress, chunk())
    assert writer.saved == [(4, 0.5), (20, None)]


def test_a_step_is_saved_once(recorder):
    writer = Writer()
    act = saving(recorder, writer, SCHEDULE)
    progress = Progress(step=7)
    act.save(progress)
    act.save(progress)
    progress.step = 8
    act.save(progress)
    assert writer.saved == [(7, None), (8, None)]


def test_the_last_checkpoint_is_tried_again_unless_the_run_failed(recorder):
    writer = Writer()
    with saving(recorder, writer, SCHEDULE) as act:
        act.save(Progress(step=3))
    assert writer.tries == LAST_TRIES
    assert [step for _, step, _ in recorder.records] == [3]
    with pytest.raises(RunError):
        with saving(recorder, Writer(RunError("full")), SCHEDULE):
            pass
    writer = Writer(RunError("full"))
    with pytest.raises(TrainingError, match="not finite"):
        with saving(recorder, writer, SCHEDULE):
            raise TrainingError("not finite")
    assert writer.tries == 0


def test_progress_is_a_line_every_few_seconds(recorder, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(actions.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        actions.sys,
        "stderr",
        SimpleNamespace(
            isatty=lambda: False, write=lambda text: None, flush=lambda: None
        ),
    )
    with actions.ShowProgress(SCHEDULE, 0) as show:
        every = show.LINE_SECONDS
        for step, later in ((5, 0), (10, every / 2), (15, every / 2), (40, 0)):
            now[0] += later
            show(Progress(step=step), chunk())
    text = "loss 0.2500, 25 examples/s, 12.5 % waiting for input"
    assert recorder.lines == [f"step {step}/40: {text}" for step in (5, 15, 40)]
    np.testing.assert_equal(len(recorder.records), 0)
