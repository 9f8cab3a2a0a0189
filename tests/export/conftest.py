"""A run directory and a published version, shared by all tests of export."""

import contextlib
import io
import os

import pytest
from absl import flags as absl_flags

from export import flags, main
from tests.worlds.served import make_run


def run_main(*args):
    """Runs export.main; returns (exit code, stdout, stderr)."""
    values = absl_flags.FlagValues()
    flags.define(values)
    rest = values(["export", *args])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run(rest, values)
    return code, out.getvalue(), err.getvalue()


def exported(run_dir, output, *args):
    """Publishes a version of a run; returns standard output."""
    code, out, err = run_main(
        f"--run_dir={run_dir}", f"--output={output}", *args
    )
    assert code == 0, err
    return out


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    return make_run(str(tmp_path_factory.mktemp("runs") / "small"))


@pytest.fixture(scope="session")
def published(run_dir, tmp_path_factory):
    """Returns the directory of version 7, in both formats."""
    output = str(tmp_path_factory.mktemp("exports") / "a" / "model")
    out = exported(run_dir, output, "--version=7")
    assert f"published {output}/7" in out
    return os.path.join(output, "7")
