"""A step that hangs is shown, and nothing else is."""

import time

import pytest

from trainer.loop.step_clock import StepClock
from trainer.loop.watchdog import Watchdog


def stuck_here(seconds):
    time.sleep(seconds)


def test_stacks_of_a_step_that_hangs(capsys):
    """By the console, which may be blocked, and not to its descriptor."""
    clock = StepClock()
    with Watchdog(clock, 0.2, worker=3):
        clock.start()
        stuck_here(1.0)
        clock.end()
    said = capsys.readouterr().err
    assert "worker 3: no step for 0.2 s (--hang_timeout_s)" in said
    assert "in stuck_here" in said


@pytest.mark.parametrize("timeout, runs", [(0.0, True), (0.2, False)])
def test_nothing_is_said_without_a_step_or_a_timeout(capfd, timeout, runs):
    clock = StepClock()
    with Watchdog(clock, timeout, worker=0):
        if runs:
            clock.start()
        time.sleep(0.6)
    assert capfd.readouterr().err == ""


def test_steps_that_go_on_are_not_shown(capfd):
    clock = StepClock()
    with Watchdog(clock, 0.3, worker=0):
        clock.start()
        for _ in range(12):
            time.sleep(0.05)
            clock._note(0)
    assert capfd.readouterr().err == ""
