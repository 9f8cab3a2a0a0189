"""Runs `python -m trainer.scaling` with a stand-in for the trainer."""

import json
import sys
from pathlib import Path

from absl import flags

from trainer import scaling
from trainer.scaling_law import runner
from trainer.tuning import trial_run

FAKE = Path(__file__).with_name("fake.py")
BASE = ("--synthetic", "--synthetic_train_rows=65536", "--batch_size=256")


def fake_trainer() -> None:
    """Makes this process start the stand-in, and look for its end often."""
    trial_run.PROGRAM = (sys.executable, str(FAKE))
    runner.POLL_S = 0.01


def arguments(folder: Path, *more: str) -> list[str]:
    """Returns the program's own arguments: two models, three rungs."""
    return [
        f"--output={folder / 'ladder'}",
        "--models=mlp,dlrm",
        "--rungs=1,3,10",
        "--seeds=1,2",
        "--learning_rates=0.0003,0.001,0.003",
        "--resamples=200",
        "--noplots",
        *more,
    ]


def run(folder: Path, *more: str, base=BASE) -> int:
    """Returns the exit code of a ladder, run in this process."""
    return program(*arguments(folder, *more), base=base)


def program(*given: str, base=()) -> int:
    """Returns the exit code of the program, run in this process."""
    values = flags.FlagValues()
    scaling.define(values)
    return scaling.run(values(["trainer.scaling", *given]), values, base)


def results(folder: Path) -> dict:
    """Returns the content of results.json."""
    return json.loads((folder / "ladder" / "results.json").read_text())


if __name__ == "__main__":
    fake_trainer()
    scaling.main()
