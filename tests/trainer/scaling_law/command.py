"""Runs `python -m trainer.scaling` with a stand-in for the trainer."""

import json
from pathlib import Path

from tests.programs import call
from tests.trainer import stand_in
from trainer import scaling
from trainer.scaling_law import runner

FAKE = "tests.trainer.scaling_law.fake"
BASE = ("--synthetic", "--synthetic_train_rows=65536", "--batch_size=256")


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
    return call(scaling, *given, trainers=base)


def results(folder: Path) -> dict:
    """Returns the content of results.json."""
    return json.loads((folder / "ladder" / "results.json").read_text())


if __name__ == "__main__":
    stand_in.install(FAKE, runner)
    scaling.main()
