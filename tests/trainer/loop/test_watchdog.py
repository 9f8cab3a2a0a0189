"""A step that hangs is shown, and nothing else is."""

from tests.waiting import until
from trainer.loop.step_clock import StepClock
from trainer.loop.watchdog import Watchdog


class Watched:
    """A watchdog of 5 s, and its clock, whose time a test moves on."""

    def __init__(self):
        self.now = 100.0
        self.clock = StepClock(now=lambda: self.now)
        self.watchdog = Watchdog(self.clock, 5.0, worker=3)

    def look(self, seconds):
        self.now += seconds
        self.watchdog.look()


def stuck_here(look):
    look(1)


def test_stacks_of_a_step_that_hangs(capsys):
    """By the console, which may be blocked, and not to its descriptor."""
    watched = Watched()
    watched.clock.start()
    watched.look(4)
    assert capsys.readouterr().err == ""
    stuck_here(watched.look)
    said = capsys.readouterr().err
    assert "worker 3: no step for 5 s (--hang_timeout_s)" in said
    assert "in stuck_here" in said
    # And again when as long has passed.
    watched.look(4)
    assert capsys.readouterr().err == ""
    watched.look(1)
    assert "worker 3: no step for 5 s" in capsys.readouterr().err


def test_nothing_is_said_outside_a_window(capsys):
    watched = Watched()
    watched.look(60)
    watched.clock.start()
    watched.clock.end()
    watched.look(60)
    # The time until the window is none of its steps'.
    watched.clock.start()
    watched.look(4)
    assert capsys.readouterr().err == ""


def test_steps_that_go_on_are_not_shown(capsys):
    watched = Watched()
    watched.clock.start()
    for _ in range(12):
        watched.look(4)
        watched.clock._note(0)
    assert capsys.readouterr().err == ""


def test_a_thread_looks_unless_the_timeout_is_0(capsys):
    clock, said = StepClock(), []
    with Watchdog(clock, 0.0, worker=0) as watchdog:
        assert watchdog._thread is None
    with Watchdog(clock, 0.01, worker=0):
        clock.start()
        until(lambda: said.append(capsys.readouterr().err) or "".join(said))
    assert "worker 0: no step for 0.01 s" in "".join(said)
