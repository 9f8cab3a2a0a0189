"""Runs `python -m trainer.tune` with a stand-in for the trainer."""

import json
from pathlib import Path

from tests.programs import call
from tests.trainer import stand_in
from trainer import tune
from trainer.tuning import tuner

FAKE = "tests.trainer.tuning.fake"
SPACES = {
    "common": "learning_rate = {low = 1e-4, high = 1e-2, log = true}\n"
    "batch_size = {choices = [256, 512]}\ndropout = {low = 0.0, high = 0.5}",
    "mlp": 'head_units = {choices = ["8", "16,8"]}',
    "fm": "first_order_learning_rate = {low = 0.01, high = 0.1}",
}
BASE = ("--synthetic", "--epochs=3", "--eval_every_steps=100")


def write_spaces(folder: Path, **texts: str) -> Path:
    """Writes small spaces, of which `texts` replace some."""
    folder.mkdir(exist_ok=True)
    for name, text in (SPACES | texts).items():
        (folder / f"{name}.toml").write_text(text)
    return folder


def arguments(folder: Path, *more: str) -> list[str]:
    """Returns the tuner's own arguments: two models, four trials."""
    return [
        "--models=mlp,fm",
        f"--output={folder / 'study'}",
        f"--spaces={write_spaces(folder / 'spaces')}",
        "--trials=4",
        "--noplots",
        *more,
    ]


def run(folder: Path, *more: str, base=BASE) -> int:
    """Returns the exit code of a study, run in this process."""
    return call(tune, *arguments(folder, *more), trainers=base)


def trials(folder: Path) -> dict:
    """Returns the trials of each model in trials.json."""
    content = json.loads((folder / "study" / "trials.json").read_text())
    return {name: m["trials"] for name, m in content["models"].items()}


def states(folder: Path) -> dict:
    """Returns the states of each model's trials."""
    return {
        name: [trial["state"] for trial in listed]
        for name, listed in trials(folder).items()
    }


def starts(folder: Path, model: str, number: int) -> list[dict]:
    """Returns what each process of a trial noted at its start."""
    return stand_in.starts(folder / "study" / model / f"trial-{number:04d}")


if __name__ == "__main__":
    stand_in.install(FAKE, tuner)
    tune.main()
