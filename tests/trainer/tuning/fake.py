"""Stands in for trainer.main: logs what a formula gives, without training.

Like the trainer, it resumes from its records. Variables hold Python
expressions: FAKE_VALUE of an evaluation, FAKE_SECONDS before it, and FAKE_END,
an exit code or None, before it and, as evaluation 0, at the start. They may
use `lr`, `i` (the evaluation, from 1), `number` (of the trial), `starts`
(processes so far), `model` and `meet(n)` (0, once n trials were started).
"""

import json
import math
import os
import sys
import time

from tests.trainer import stand_in

VALUE = "(math.log10(lr) + 3) ** 2 + 1 / i"


def meet(study, count):
    while len([*study.glob("*/trial-*/starts")]) < count:
        time.sleep(0.01)
    return 0


def main():
    flags, run_dir, starts = stand_in.begin()
    names = {
        "lr": float(flags.get("learning_rate", 1e-3)),
        "number": int(run_dir.name.partition("-")[2]),
        "starts": starts,
        "model": flags["model"],
        "math": math,
        "meet": lambda count: meet(run_dir.parents[1], count),
    }

    def evaluated(variable, default, i):
        return eval(os.environ.get(variable, default), names | {"i": i})

    def end(i):
        if (code := evaluated("FAKE_END", "None", i)) is not None:
            print("2026: noise\nerror: --rank is wrong.", file=sys.stderr)
            sys.exit(code)

    end(0)
    (run_dir / "config.json").write_text("{}")
    (run_dir / "checkpoints").mkdir(exist_ok=True)
    log = run_dir / "metrics.jsonl"
    done = log.read_text().count("valid") if log.exists() else 0
    for i in range(done + 1, int(flags.get("epochs", 3)) + 1):
        time.sleep(evaluated("FAKE_SECONDS", "0", i))
        end(i)
        value = evaluated("FAKE_VALUE", VALUE, i)
        record = {"click": {"logloss": value, "auc": value}}
        with log.open("a") as file:
            for kind, values in (("train", {}), ("valid", record)):
                line = {"step": 10 * i, "kind": kind} | values
                file.write(json.dumps(line) + "\n")
    (run_dir / "ended").write_text(str(time.time()))
