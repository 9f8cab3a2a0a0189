"""A profile of some steps: the flag, and what a run leaves of it."""

import glob
import os
import shutil

from tests.errors import assert_refused
from tests.trainer.cli import arguments, run
from tests.trainer.modes.test_train import SMALL
from tests.worlds import clicks
from trainer.loop.profiling import Profile
from trainer.settings import Machine


def test_steps_to_profile():
    assert Machine().profiled_steps is None
    assert Machine(profile_steps="3:5").profiled_steps == (3, 6)
    for text in ("3", "5:3", "a:b", "-1:2", "1:2:3"):
        assert_refused(
            lambda text=text: Machine(profile_steps=text), "--profile", text
        )


def test_a_run_leaves_the_profile_of_its_steps(tmp_path, capfd):
    options = {
        **SMALL,
        "data_dir": clicks.write_log(str(tmp_path / "log")),
        "run_dir": str(tmp_path / "run"),
        "epochs": 1,
        "profile_steps": "2:3",
    }
    assert run(*arguments(**options)) == 0
    said = capfd.readouterr()
    folder = os.path.join(options["run_dir"], "tensorboard")
    assert f"profile of steps 2 to 3 in {folder}" in said.out + said.err
    traces = glob.glob(f"{folder}/plugins/profile/*/*.xplane.pb")
    assert len(traces) == 1
    with open(traces[0], "rb") as file:
        trace = file.read()
    assert b"MatMul" in trace


def test_a_profile_makes_no_deleted_directory_anew(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with Profile(str(run_dir), (0, 2), 0) as profile:
        profile.begin(0)
        shutil.rmtree(run_dir)
    assert not run_dir.exists()


def test_a_profile_that_cannot_be_written_ends_no_run(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("in its way")
    with Profile(str(tmp_path), (0, 2), 0) as profile:
        profile.begin(0)
    said = capsys.readouterr().err
    assert "profile of steps 0 to 1 cannot be written" in said
