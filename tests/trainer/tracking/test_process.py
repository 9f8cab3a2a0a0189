"""A tracker's process, which a run survives."""

import sys

import pytest

from trainer.tracking import process
from trainer.tracking.tracker import Start

START = Start("n", "a1", "folder", {"rank": 3}, {})
ECHO = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    del message["time"]
    print(json.dumps(message, sort_keys=True), flush=True)
    if message["call"] == "finish":
        break
"""


@pytest.fixture
def tracker(monkeypatch):
    """Makes a tracker whose process runs a program of the test."""

    def make(program):
        arguments = (sys.executable, "-c", program)
        monkeypatch.setattr(process, "PROGRAM", arguments)
        return process.ProcessTracker("mlflow")

    monkeypatch.setattr(process, "FINISHED_S", 60.0)
    monkeypatch.setattr(process, "STOPPED_S", 60.0)
    return make


def ended(made, status, capsys):
    """What is logged until the end."""
    made.finish(status)
    for thread in made.threads:
        thread.join(60)
        assert not thread.is_alive()
    return capsys.readouterr().err


def test_calls_arrive_in_order(tracker, capsys):
    made = tracker(ECHO)
    made.start(START)
    made.metrics("train", 3, {"train/loss": float("inf")})
    made.report(6, {"report/test/click/auc": 0.5}, "report")
    said = ended(made, "stopped", capsys).splitlines()
    assert [line.partition('"call": ')[2].split('"')[1] for line in said] == [
        *("start", "metrics", "report", "finish")
    ]
    assert '"values": {"train/loss": Infinity}' in said[1]
    assert all(line.startswith("mlflow: {") for line in said)


def test_a_tracker_that_hangs_is_killed_at_the_end(
    tracker, capsys, monkeypatch
):
    for name in ("FINISHED_S", "STOPPED_S"):
        monkeypatch.setattr(process, name, 0.2)
    for status in ("finished", "stopped"):
        made = tracker("import time; time.sleep(600)")
        made.start(START)
        assert ended(made, status, capsys) == (
            "--track=mlflow: the tracker did not begin in time, as when a "
            "server does not answer; nothing is sent; the run goes on.\n"
        )


def test_a_tracker_that_dies_costs_a_line(tracker, capsys):
    made = tracker("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    made.start(START)
    for step in range(100):
        made.metrics("train", step, {"text": "x" * 1000})
    assert ended(made, "finished", capsys) == (
        "--track=mlflow: the tracker ended with exit code -11; the run goes "
        "on.\n"
    )


def test_messages_wait_within_bounds(tracker, capsys, monkeypatch):
    monkeypatch.setattr(process, "WAITING", 3)
    monkeypatch.setattr(process, "FINISHED_S", 0.2)
    made = tracker("import time; time.sleep(600)")
    for step in range(100):
        made.metrics("train", step, {"text": "x" * 100_000})
    said = ended(made, "finished", capsys)
    assert said.count("does not keep up; it misses some metrics") == 1


def test_a_package_that_breaks_is_one_line(tracker, capsys):
    made = tracker(
        "import sys; sys.modules['mlflow'] = None\n"
        "from trainer.tracking import child; child.main()"
    )
    made.start(START)
    (line,) = ended(made, "stopped", capsys).splitlines()
    assert line.startswith("mlflow: no run, as its package cannot be imported")
