"""Runs `python -m trainer.tune` with a stand-in for the trainer."""

import json
import sys
from pathlib import Path

from absl import flags

from trainer import tune
from trainer.tuning import trial_run, tuner

FAKE = Path(__file__).with_name("fake.py")
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


def fake_trainer() -> None:
    """Makes this process start the stand-in, and look for its end often."""
    trial_run.PROGRAM = (sys.executable, str(FAKE))
    tuner.POLL_S = 0.01


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
    values = flags.FlagValues()
    tune.define(values)
    rest = values(["trainer.tune", *arguments(folder, *more)])
    return tune.run(rest, values, base)


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
    path = folder / "study" / model / f"trial-{number:04d}" / "starts"
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    fake_trainer()
    tune.main()
