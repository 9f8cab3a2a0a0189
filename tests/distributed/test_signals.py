"""Signals that come late: the work of the steps is done, not the program's."""

import os
import signal
from pathlib import Path

import pytest

from tests.distributed.processes import (
    finish,
    flags_of,
    start_python,
    wait_for,
)
from tests.worlds import served
from trainer.main import EXIT_RESUME
from wukong_tf import runs

pytestmark = pytest.mark.slow

# The program as it is started, but that one of its stages takes a minute.
SLOW = """
import pathlib, runpy, sys, time
from {program} import main
import {module}
def stand(*arguments, **options):
    pathlib.Path({mark!r}).touch()
    time.sleep(60)
{module}.{name} = stand
sys.argv = ["{program}", *sys.argv[1:]]
main()
"""


def signal_it_in(tmp_path, program, module, name, flags):
    """A program that gets several signals in one of its stages."""
    mark = tmp_path / "mark"
    script = SLOW.format(
        program=program, module=module, name=name, mark=str(mark)
    )
    process = start_python("-c", script, *flags)
    wait_for(mark.exists, process, name)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.killpg(process.pid, number)
    return process


@pytest.mark.full
def test_while_the_report_is_drawn(data, tmp_path):
    run_dir = tmp_path / "run"
    process = signal_it_in(
        tmp_path,
        "trainer.main",
        "trainer.report.summary",
        "write_report",
        flags_of(data, run_dir, max_steps=2, eval_every_steps=2),
    )
    said = finish(process, EXIT_RESUME)
    assert "stopped; the same command resumes" in said
    assert "Traceback" not in said
    assert runs.find_checkpoint(str(run_dir), "best").step == 2
    assert not (run_dir / "report").exists()


@pytest.mark.full
def test_while_an_export_runs(tmp_path):
    output = Path(tmp_path / "output")
    run_dir = tmp_path / "run"
    served.make_run(run_dir)
    process = signal_it_in(
        tmp_path,
        "export.main",
        "export.main",
        "load",
        [f"--run_dir={run_dir}", f"--output={output}"],
    )
    said = finish(process, 130)
    assert "interrupted; nothing was published" in said
    assert "Traceback" not in said
    assert not output.exists()
