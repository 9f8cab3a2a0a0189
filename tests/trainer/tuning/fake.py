"""Stands in for trainer.main: logs what a formula gives, without training.

Like the trainer, it locks its directory, resumes from its records and ends
with 75 on SIGTERM. Variables hold Python expressions: FAKE_VALUE of an
evaluation, FAKE_SECONDS before it, and FAKE_END, an exit code or None, before
it and, as evaluation 0, at the start. They may use `lr`, `i` (the evaluation,
from 1), `number` (of the trial), `starts` (processes so far), `model` and
`meet(n)` (0, once n trials were started).
"""

import fcntl
import json
import math
import os
import signal
import sys
import time
from pathlib import Path

VALUE = "(math.log10(lr) + 3) ** 2 + 1 / i"


def meet(study, count):
    while len([*study.glob("*/trial-*/starts")]) < count:
        time.sleep(0.01)
    return 0


def main():
    flags = dict(
        text.removeprefix("--").partition("=")[::2] for text in sys.argv
    )
    run_dir = Path(flags["run_dir"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    run_dir.mkdir(exist_ok=True)
    lock = open(run_dir / "lock", "w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    start = {
        "arguments": sys.argv[1:],
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "time": time.time(),
    }
    with open(run_dir / "starts", "a") as file:
        file.write(json.dumps(start) + "\n")
    names = {
        "lr": float(flags.get("learning_rate", 1e-3)),
        "number": int(run_dir.name.partition("-")[2]),
        "starts": (run_dir / "starts").read_text().count("\n"),
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


if __name__ == "__main__":
    main()
