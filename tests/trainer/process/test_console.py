"""What is printed may be lost; nothing else is."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from trainer.process import console
from trainer.process.stop_signal import EXIT_RESUME

LINES = """
import sys
from trainer.process import console
console.guard()
for number in range(20_000):
    print(f"line {number} " + 40 * "x", file=sys.STREAM)
console.log("the end", of_each=True)
sys.exit(7)
"""


def python(script, stream="stderr", **options):
    return subprocess.Popen(
        [sys.executable, "-c", script.replace("STREAM", stream)], **options
    )


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_costs_its_lines_alone(stream):
    reader, writer = os.pipe()
    process = python(LINES, stream, **{stream: writer})
    os.close(writer)
    os.read(reader, 100)
    os.close(reader)
    assert process.wait(60) == 7


def test_a_full_disk_costs_its_lines_alone():
    with open("/dev/full", "w") as full:
        assert python(LINES, stderr=full, stdout=full).wait(60) == 7


def test_closed_streams_cost_their_lines_alone():
    for close in ("os.close(1); os.close(2)", "sys.stdout = sys.stderr = None"):
        assert python(f"import os, sys; {close}\n{LINES}").wait(60) == 7


def test_nobody_reads_and_the_program_ends_all_the_same():
    reader, writer = os.pipe()
    process = python(LINES, stderr=writer)
    os.close(writer)
    assert process.wait(60) == 7
    os.set_blocking(reader, False)
    assert os.read(reader, 9) == b"line 0 xx"
    os.close(reader)


def test_who_reads_gets_every_line_of_standard_output():
    process = python(LINES, "stdout", stdout=subprocess.PIPE, text=True)
    time.sleep(1)  # the pipe is full long before
    lines = process.stdout.read().splitlines()
    assert [int(line.split()[1]) for line in lines] == list(range(20_000))
    assert process.wait(60) == 7


DIES = """
import threading
from trainer.process import console
console.guard()
def fail():
    raise ValueError("a fault")
thread = threading.Thread(target=fail, name="helper")
thread.start()
thread.join()
"""


def test_a_thread_that_dies_is_reported():
    process = python(DIES, stderr=subprocess.PIPE, text=True)
    assert process.communicate(timeout=60)[1] == (
        "error: thread helper ended: ValueError: a fault\n"
    )


WAITS = """
import signal, sys, time
from trainer.process.stop_signal import STOP
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    # Whatever the tests were started by: a shell's & ignores Ctrl-C.
    if (number, sys.argv[2:]) != (signal.SIGHUP, ["nohup"]):
        signal.signal(number, signal.SIG_DFL)
STOP.install()
print("ready", flush=True)
if sys.argv[1] == "before":
    time.sleep(60)
with STOP:
    print("in", flush=True)
    while not STOP():
        time.sleep(0.01)
    time.sleep(0.5)  # a checkpoint
print("saved", flush=True)
if sys.argv[1] == "settled":
    STOP.settle()
    print("settled", flush=True)
    time.sleep(0.5)
    sys.exit(3)
time.sleep(60)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
)
@pytest.mark.parametrize(
    "when, expected",
    [("before", EXIT_RESUME), ("after", EXIT_RESUME), ("settled", 3)],
)
def test_signals_end_a_program_with_its_code(when, expected, number):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, when],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    if when != "before":
        assert process.stdout.readline() == "in\n"
        for _ in range(5):  # while it saves
            process.send_signal(number)
            time.sleep(0.01)
        assert process.stdout.readline() == "saved\n"
    if when == "settled":
        assert process.stdout.readline() == "settled\n"
    for _ in range(5):
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == expected
    assert signal.Signals(number).name in said and "Traceback" not in said


def test_an_ignored_hangup_stays_ignored():
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", WAITS, "before", "nohup"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == EXIT_RESUME
    process.stdout.close()


def test_log_survives_streams_without_a_descriptor(capsys):
    console.log("a line")
    assert capsys.readouterr().err == "a line\n"


AT_ONCE = """
import os, signal, time
from trainer.process.stop_signal import SIGNALS, interrupt_once
for number in SIGNALS:
    signal.signal(number, signal.SIG_DFL)
interrupt_once()
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
try:
    for number in SIGNALS:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    time.sleep(60)
except KeyboardInterrupt:
    for number in SIGNALS:
        os.kill(os.getpid(), number)
    time.sleep(0.1)
    print("cleaned up")
"""


def test_signals_that_come_at_once_interrupt_once():
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("cleaned up\n", "")


BLOCKED = """
import sys
from trainer.process import console
from trainer.process.stop_signal import STOP, interrupt_once
{begin}
console.guard()
print(1_000_000 * "x")  # more than a pipe takes
print("results", file=sys.stderr)
STOP.settle()
sys.exit(3)
"""


@pytest.mark.parametrize("begin", ["STOP.install()", "interrupt_once()"])
def test_results_that_nobody_reads_are_given_up_at_a_signal(begin):
    process = python(
        BLOCKED.format(begin=begin),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr.readline() == "results\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 3
    assert process.stderr.read() == ""
    process.stdout.close()
    process.stderr.close()


TAKES_LONG = """
import os, signal, sys, time
from trainer.process.stop_signal import STOP, interrupt_once
signal.signal(signal.SIGTERM, signal.SIG_DFL)
{begin}
class Slow:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(1, b"down\\n")
        sleep(1)
slow = Slow()
sys.exit(3)
"""


@pytest.mark.parametrize("begin", ["STOP.install()", "interrupt_once()"])
def test_signals_while_python_takes_itself_down_change_no_code(begin):
    process = python(TAKES_LONG.format(begin=begin), stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"down\n"
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 3
    process.stdout.close()


OPENS = """
import os, sys
from trainer.process import console
from trainer.process.stop_signal import STOP
{begin}
with open("file", "w") as file:
    os.write(1, b"of a library")
    os.write(2, b"of a library")
sys.exit(os.path.getsize("file"))
"""


@pytest.mark.parametrize("begin", ["STOP.install()", "console.guard()"])
@pytest.mark.parametrize("close", ["1", "2", "1, 2", "0, 1, 2"])
def test_no_file_takes_the_place_of_a_closed_stream(tmp_path, begin, close):
    def closing():
        for number in map(int, close.split(",")):
            os.close(number)

    process = python(
        OPENS.format(begin=begin),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        preexec_fn=closing,
    )
    assert process.wait(60) == 0


def test_results_that_a_full_disk_lost_are_reported():
    with open("/dev/full", "w") as full:
        process = python(
            LINES, "stdout", stdout=full, stderr=subprocess.PIPE, text=True
        )
        said = process.communicate(timeout=60)[1]
    assert "standard output cannot be written: [Errno 28]" in said


def test_no_room_for_a_thread_costs_lines_alone(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    with open(os.devnull, "w") as stream:
        made = console.Console(stream, waits=True)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            print("a line", file=made)
        print("another", file=made)
        made.drain(60)
        assert not made._texts.unfinished_tasks


HOLDS = """
import ctypes, signal
from trainer.process.stop_signal import STOP
signal.signal(signal.SIGTERM, signal.SIG_DFL)
STOP.install()
STOP.disarm()
print("waits", flush=True)
ctypes.PyDLL(None).sleep(60)  # and holds Python's lock
"""


def test_a_call_that_holds_python_s_lock_is_ended_by_the_system():
    process = python(HOLDS, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"waits\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM
    process.stdout.close()
