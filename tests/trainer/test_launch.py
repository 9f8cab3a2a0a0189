"""What a launcher makes of its workers' ends, without training."""

import signal
import socket
import sys

import pytest

from tests.distributed.processes import finish, start
from trainer import launch

pytestmark = pytest.mark.slow  # all start processes


@pytest.mark.parametrize(
    "codes, expected",
    [
        ([0, 0], 0),
        ([75, 75], 75),
        ([0, 75], 75),
        ([69, -9], 69),
        ([-9, -9], 69),
        ([75, 69], 69),
        ([2, 69], 2),
        ([69, 1], 1),
        ([1, 2], 2),
        ([-15], 69),
    ],
)
def test_one_code_of_all(codes, expected):
    assert launch.outcome(codes) == expected


@pytest.mark.parametrize(
    "codes, expected",
    [([75, -15], 75), ([69, -2, -1], 75), ([75, -9], 69), ([75, 1], 1)],
)
def test_workers_that_a_signal_ended_as_they_began_were_stopped(
    codes, expected
):
    assert launch.outcome(codes, stopped=True) == expected


def test_ports_are_free_and_differ():
    ports = launch.free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        with socket.socket() as each:
            each.bind(("127.0.0.1", port))


def test_gpus_are_those_that_may_be_used(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-7")
    assert launch.gpus() == ["3", "GPU-7"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert launch.gpus() == []


def run(monkeypatch, scripts, restarts=0, grace_s=1):
    """The exit code of a launch whose workers run Python texts in turn."""
    left = list(scripts)

    def start_texts(count, arguments):
        texts = left.pop(0)
        return [
            launch.Worker(number, [sys.executable, "-c", text], None)
            for number, text in enumerate(texts)
        ]

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(launch, "start", start_texts)
    try:
        code = launch.launch(len(scripts[0]), restarts, [], grace_s)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    return code, left


ENDS = "import sys; sys.exit({})"
HANGS = "import time; time.sleep(600)"
SPEAKS = "import sys; print('out'); print('err', file=sys.stderr)"


def test_lines_have_their_worker_before_them(monkeypatch, capfd):
    assert run(monkeypatch, [[SPEAKS, SPEAKS]]) == (0, [])
    said = capfd.readouterr()
    assert sorted(said.out.splitlines()) == ["[0] out", "[1] out"]
    assert sorted(said.err.splitlines()) == ["[0] err", "[1] err"]


def test_who_waits_for_one_that_is_gone_is_ended(monkeypatch, capfd):
    assert run(monkeypatch, [[HANGS, ENDS.format(69)]])[0] == 69
    said = capfd.readouterr().err
    assert "worker 0 ended: killed by SIGKILL of the launcher" in said
    assert "worker 1 ended: exit code 69" in said


@pytest.mark.parametrize("code", [1, 2])
def test_a_fault_is_not_waited_for_or_tried_again(monkeypatch, code):
    scripts = [[HANGS, ENDS.format(code)], [SPEAKS, SPEAKS]]
    found, left = run(monkeypatch, scripts, restarts=3, grace_s=500)
    assert found == code and len(left) == 1


def test_restarts_are_counted(monkeypatch, capfd):
    lost, fine = [ENDS.format(69)] * 2, [SPEAKS] * 2
    assert run(monkeypatch, [lost, lost, fine], restarts=2) == (0, [])
    assert run(monkeypatch, [lost, lost, fine], restarts=1) == (69, [fine])
    assert "0 restarts left" in capfd.readouterr().err


def test_a_signal_that_came_just_before_is_passed_on(monkeypatch, capfd):
    with monkeypatch.context() as patch:
        patch.setattr(launch.STOP, "received", signal.SIGTERM)
        assert run(patch, [[HANGS, HANGS]], restarts=3) == (75, [])
    assert "worker 1 ended: killed by SIGTERM" in capfd.readouterr().err


def test_a_flag_without_dashes_before_it_is_refused():
    said = finish(start("trainer.launch", "--workers=2", "run"), 2)
    assert "unexpected arguments: ['run']" in said and "after --" in said


def test_more_workers_than_gpus_are_refused():
    environment = {"CUDA_VISIBLE_DEVICES": "0"}
    process = start(
        "trainer.launch", "--workers=2", "--", environment=environment
    )
    assert "at most the 1 GPUs; received 2" in finish(process, 2)
