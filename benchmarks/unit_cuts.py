"""Measures quality and bytes of cut models: `python -m benchmarks.unit_cuts`.

On the synthetic log, one Wukong whose users and items have four embeddings
each is trained with unit dropout, then evaluated with only its first m units,
m from 1 to 4, and compared with models trained with m units. The value is the
largest loss in test AUC of a cut model compared with the one trained with as
many units; it has no bar. Each run is a separate process.
"""

import dataclasses
import json
import os
import sys
import tempfile

from absl import flags

from benchmarks import processes, run_program

ROWS = flags.DEFINE_integer("train_rows", 2_000_000, "Rows to train on.")
RATE = flags.DEFINE_float("rate", 0.5, "Unit dropout.")

FEATURES, UNITS = ("user", "item"), 4
SIZES = (
    "--embedding_dim=8",
    "--num_layers=2",
    "--batch_size=2048",
    "--table_learning_rate=0.1",
    "--eval_every_steps=500",
)


def data():
    """Returns the flags of the log."""
    rows = f"--synthetic_train_rows={ROWS.value}"
    return ["--synthetic", rows, "--synthetic_valid_rows=50000"]


def units(count: int) -> str:
    """Returns the flag that sets the number of units of each feature."""
    return "--units=" + ",".join(f"{name}:{count}" for name in FEATURES)


def trainer(*arguments: str):
    """Runs the trainer's command line."""
    processes.run("trainer.main", *data(), *arguments)


def trained(folder: str, name: str, *more: str) -> dict:
    """Trains, and returns the test metrics of the report."""
    run_dir = os.path.join(folder, name)
    trainer(f"--run_dir={run_dir}", *SIZES, *more)
    path = os.path.join(run_dir, "report", "metrics.json")
    with open(path, encoding="utf-8") as file:
        return json.load(file)["test"]["click"]


def evaluated(folder: str, name: str, keep: int) -> dict:
    """Returns the test metrics of a run with only its first units."""
    output = os.path.join(folder, f"{name}_{keep}.json")
    trainer(
        "--mode=eval",
        f"--run_dir={os.path.join(folder, name)}",
        f"--output={output}",
        f"--keep_units={keep}",
        units(UNITS),
    )
    with open(output, encoding="utf-8") as file:
        return json.load(file)["test"]["click"]


def table_bytes(folder: str, name: str, keep: int) -> int:
    """Returns the bytes of the tables that are left."""
    from wukong_tf import runs
    from wukong_tf.scaling import cost

    config = runs.read_model_config(os.path.join(folder, name))
    cut = config.features.cut(keep)
    return cost(dataclasses.replace(config, features=cut)).table_bytes


def main(argv):
    """Trains and evaluates all of them and prints the result."""
    del argv
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        trained(folder, "all", units(UNITS), f"--unit_dropout={RATE.value}")
        whole = table_bytes(folder, "all", UNITS)
        for keep in range(1, UNITS + 1):
            cut = evaluated(folder, "all", keep)
            own = trained(folder, f"own_{keep}", units(keep))
            size = table_bytes(folder, "all", keep)
            results[str(keep)] = {
                "table_bytes": size,
                "bytes_saved": whole - size,
                "cut": {k: cut[k] for k in ("auc", "logloss")},
                "trained": {k: own[k] for k in ("auc", "logloss")},
            }
            print(f"{keep} units: {results[str(keep)]}", file=sys.stderr)
    losses = [
        result["trained"]["auc"] - result["cut"]["auc"]
        for result in results.values()
    ]
    result = {
        "name": "unit_cuts",
        "value": max(losses),
        "unit": "largest loss in test AUC to a model trained with the units",
        "bar": None,  # a cost to report, without a limit
        "holds": None,
        "units": results,
        "train_rows": ROWS.value,
        "unit_dropout": RATE.value,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
