"""Stands in for trainer.main: writes what a formula gives, without training.

Like the trainer, it resumes from its records. The excess is
(MLP units / 100)^-0.5 (rows / 1000)^-0.3, times
1 + |log10(learning rate) + 3| + noise of the seed. FAKE_SECONDS pass before
each evaluation; FAKE_FAIL is an expression of `model`, `units`, `lr`
and `seed` that is true if the run fails, and FAKE_KILL one of these and
`starts`, which counts its processes, that is true if it is killed.
"""

import json
import math
import os
import random
import signal
import sys
import time

from tests.trainer import stand_in
from trainer.settings.optimization import IF_DIVERGED

FLOOR = 0.25


def main():
    flags, run_dir, starts = stand_in.begin()
    model, seed = flags["model"], int(flags["seed"])
    lr = float(flags["learning_rate"])
    units = int(flags["head_units"].partition(",")[0])
    batch = int(flags.get("batch_size", 1024))
    steps, every = int(flags["max_steps"]), int(flags["eval_every_steps"])
    if eval(os.environ.get("FAKE_FAIL", "False")):
        text = os.environ.get(
            "FAKE_ERROR", f"the loss is not finite. {IF_DIVERGED}"
        )
        print(f"error: {text}", file=sys.stderr)
        (run_dir / "config.json").write_text("{}")
        sys.exit(2)
    if eval(os.environ.get("FAKE_KILL", "False")):
        os.kill(os.getpid(), signal.SIGKILL)
    (run_dir / "config.json").write_text("{}")
    (run_dir / "checkpoints").mkdir(exist_ok=True)
    noise = random.Random(f"{model}{units}{seed}").gauss(0, 0.01)

    def loss(rows):
        tuned = 1 + abs(math.log10(lr) + 3) + noise
        power = (units / 100) ** -0.5 * (rows / 1000) ** -0.3
        return FLOOR + 0.1 * tuned * power

    log = run_dir / "metrics.jsonl"
    done = log.read_text().count("\n") if log.exists() else 0
    for step in sorted({*range(every, steps + 1, every), steps})[done:]:
        time.sleep(float(os.environ.get("FAKE_SECONDS", 0)))
        value = {"click": {"logloss": loss(step * batch)}}
        with log.open("a") as file:
            line = {"step": step, "kind": "valid", **value}
            file.write(json.dumps(line) + "\n")
    metrics = {
        "auc": 0.8,
        "logloss": loss(steps * batch),
        "attainable_logloss": FLOOR,
    }
    report = {
        "valid": {"click": metrics},
        "run": {"rows": steps * batch, "seconds": 2.0},
        "progressive": {"click": {"window": {"logloss": metrics["logloss"]}}},
    }
    if "splits" not in flags:
        report["test"] = {"click": metrics}
    (run_dir / "report").mkdir(exist_ok=True)
    (run_dir / "report" / "metrics.json").write_text(json.dumps(report))
