"""Every benchmark runs, at sizes whose figures mean nothing.

What is held is what the figures can be: a share is in [0, 1], a time above 0.
Parts that a benchmark starts as processes run in this one, where that
changes nothing but the figures.
"""

import contextlib
import functools
import importlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from benchmarks import mid_size, processes
from tests import tiers
from tests.export.server import running
from tests.trainer import cli

ROOT = Path(__file__).resolve().parents[2]
HELPERS = {"__init__", "lanes", "mid_size", "processes", "published_models"}
SMALL = {
    "embedding_dim": 4,
    "num_layers": 1,
    "num_fmb": 2,
    "num_lcb": 2,
    "rank": 3,
    "mlp_units": (8,),
    "head_units": (8,),
}
# What takes longest.
DEAREST = {
    "unit_cuts",
    "serving",
    "scaling_workers",
    "table_rows",
    "deterministic",
    "sharded_tables",
}
# Flags, and constants of the module, of a tiny run.
RUNS: dict[str, tuple[list[str], dict]] = {
    "checkpoint_stall": (["--rounds=1", "--rows=20000"], {}),
    "deterministic": (["--pairs=1", "--steps=2"], {}),
    "inference": (["--calls=2", "--rows=500"], {}),
    "input_pipeline": (["--rows=2000", "--steps=3", "--rounds=3"], {}),
    "interop": ([], {}),
    "naive_keras": (["--rounds=1", "--steps=2"], {"BARS": {500: 1.5}}),
    "prepare_memory": (["--rows=300"], {}),
    "scaling_workers": (
        ["--rounds=1", "--steps=2", "--rows=500"],
        {"BATCH": 32, "HELD_OUT": 64},
    ),
    "serving": (
        ["--calls=60", "--rows=500", "--models=mid_size", "--connections=2"],
        {"BATCHES": (1, 3), "BARS": {1: 1.05, 3: 1.15}},
    ),
    "sharded_state": (
        ["--workers=2", "--steps=2"],
        {"BATCH": 8, "UNITS": 8, "LAYERS": 1},
    ),
    "sharded_tables": (
        [
            *("--rows=3900", "--workers=1,2", "--steps=2"),
            *("--width=4", "--sharded_exchange_dtype=bfloat16"),
        ],
        {"BATCH": 32, "RANK": 4},
    ),
    "table_rows": (
        ["--rows=260,520", "--pairs=10", "--steps=2"],
        {"BATCH": 16, "WIDTH": 4, "FEATURES": 4},
    ),
    "train_step": (["--rounds=10", "--rows=500"], {"SIDE": 64}),
    "unit_cuts": (
        ["--train_rows=512"],
        {
            "UNITS": 2,
            "SIZES": (
                *("--embedding_dim=2", "--num_layers=1", "--batch_size=256"),
                *("--synthetic_valid_rows=256", "--synthetic_test_rows=256"),
            ),
        },
    ),
}
AT_MOST = {
    "interop",
    "table_rows",
    "prepare_memory",
    "checkpoint_stall",
    "sharded_tables",
}
# The range of a figure by its name's last part, or that of what holds it.
RANGES = (
    (r"(^|_)(auc|share|shares|wait|all_reduce)$", 0.0, 1.0),
    (r"(^|_)(adds_ms|bytes_saved|all_reduce_share)$", -math.inf, math.inf),
    (r"^memory_of_table_and_state$", 0.0, math.inf),
    (
        r"(^|_)(ms|s|seconds|bytes|ratios?|rounds|rows|loss|logloss|bars?|"
        r"examples_per_s\w*|gflop\w*|megabytes|quartiles|cpus|steps)$",
        1e-12,
        math.inf,
    ),
)


def names():
    """Every benchmark by its file."""
    found = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    return found - HELPERS


def load(name):
    """A fresh module of a benchmark, and flags that are its own."""
    values = flags.FlagValues()
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("integer", "float", "bool", "enum", "list", "string"):
            define = getattr(flags, f"DEFINE_{kind}")
            patch.setattr(
                flags,
                f"DEFINE_{kind}",
                functools.partial(define, flag_values=values),
            )
        sys.modules.pop(f"benchmarks.{name}", None)
        return importlib.import_module(f"benchmarks.{name}"), values


def last_line(name, arguments, constants, trainer):
    """What the benchmark prints last, run in this process."""
    module, values = load(name)
    for constant, value in constants.items():
        assert hasattr(module, constant)
        setattr(module, constant, value)
    if name == "serving":
        module.server = serve
    if name == "scaling_workers":
        module.start = functools.partial(start_here, trainer)
    values([name, *arguments])
    said = io.StringIO()
    with cli.parsed("--num_layers=1"), contextlib.redirect_stdout(said):
        module.main([name])
    return said.getvalue().splitlines()[-1]


@contextlib.contextmanager
def serve(base):
    """The server in a thread; gives its port."""
    with running.serving(base, max_rows=512) as server:
        yield server.port


# What a run's figures do not depend on, at such sizes.
ALIKE = (
    *("--run_dir=", "--unit_dropout=", "--deterministic"),
    *("--intra_op_", "--inter_op_"),
)


class Trainer:
    """The trainer's command line in this process, each run trained once."""

    def __init__(self):
        self._run_dirs = {}

    def __call__(self, *arguments):
        with cli.parsed(*arguments) as values:
            folder = values.run_dir
        key = tuple(a for a in arguments if not a.startswith(ALIKE))
        if key in self._run_dirs and "--mode=eval" not in arguments:
            if folder != self._run_dirs[key]:  # of another worker
                shutil.copytree(self._run_dirs[key], folder)
            return
        rest = [a for a in arguments if "_op_threads=" not in a]
        assert cli.run(*rest) == 0
        self._run_dirs[key] = folder


def run_here(trainer, module, *arguments):
    """What `processes.run` does, in this process."""
    if module == "trainer.main":
        trainer(*arguments)
        return ""
    if module == "trainer.launch":  # one worker in place of several
        trainer(*arguments[arguments.index("--") + 1 :])
        return ""
    name = module.removeprefix("benchmarks.")
    return last_line(name, arguments, RUNS[name][1], trainer)


class Ended:
    """A process that has ended well."""

    returncode = 0

    def communicate(self):
        return "", ""


def start_here(trainer, core, arguments, environment=None):
    """A worker's run, of all rows of its batches, in this process."""
    del core, environment
    assert arguments[1:3] == ["-m", "trainer.main"]
    trainer(*arguments[3:])
    return Ended()


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Models and batches that take no time."""
    import tensorflow as tf

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(mid_size, "FEATURES", 5)
    monkeypatch.setattr(mid_size, "NAMES", mid_size.NAMES[:5])
    monkeypatch.setattr(mid_size, "BATCH", 32)
    monkeypatch.setattr(mid_size, "SIZES", SMALL)
    trainer = Trainer()
    monkeypatch.setattr(processes, "run", functools.partial(run_here, trainer))
    # It would hold for all tests of this process.
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: None
    )
    return trainer


def refuse_constant(text):
    raise ValueError(f"{text} is no JSON")


def check(name, line):
    """Holds the JSON of a benchmark to what it can be."""
    result = json.loads(line, parse_constant=refuse_constant)
    assert result["name"] == name
    value, bar, holds = (result[key] for key in ("value", "bar", "holds"))
    assert type(value) in (int, float)
    if bar is None:
        assert holds is None
    else:
        assert type(bar) in (int, float) and type(holds) is bool
        meets = value <= bar if name in AT_MOST else value >= bar
        assert meets or not holds  # the bar may ask for more than the value
    for path, number in leaves(result):
        assert math.isfinite(number), path
        for part in reversed(path):
            ranges = [r for r in RANGES if re.search(r[0], part)]
            if ranges:
                _, low, high = ranges[0]
                assert low <= number <= high, (path, number)
                break
    return result


def leaves(value, path=()):
    """(path, number) of all numbers within JSON."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    tiers.first(
        sorted(RUNS, key=DEAREST.__contains__), len(RUNS) - len(DEAREST)
    ),
)
def test_it_runs_and_its_figures_can_be(name, tiny):
    result = check(name, last_line(name, *RUNS[name], tiny))
    if name == "input_pipeline":
        assert 0 <= result["in_training"]["input_wait"] <= 1
    if name == "deterministic":
        assert len(result["ratios"]) == 1


@pytest.mark.full
def test_the_gpus_benchmark_runs_on_a_cpu():
    code = (
        "from benchmarks import gpu_interactions as benchmark\n"
        "from absl import app\n"
        "benchmark.ROWS, benchmark.WIDTH, benchmark.FROM_GFLOP = 30, 4, 0.5\n"
        "app.run(benchmark.main)"
    )
    command = [sys.executable, "-c", code, "--cpu", "--batch_size=2"]
    command += ["--presets=internal_0.53gf", "--rounds=3", "--side=64"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = check("gpu_interactions", done.stdout.splitlines()[-1])
    assert result["presets"]["internal_0.53gf"]["float32_error"] < 1e-4


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("naive_keras", ["--side=ours", "--rows=5000", "--steps=1"]),
        ("table_rows", ["--memory_of=26000", "--steps=2"]),
        ("scaling_workers", ["--rounds=1", "--steps=2", "--rows=50000"]),
    ],
)
def test_processes_of_its_own(name, arguments):
    """As a user starts it, and as it starts its own parts."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    if name == "scaling_workers":
        check(name, line)
    elif name == "table_rows":
        assert json.loads(line)["peak"] > 1e8
    else:
        assert float(line) > 0


def test_impossible_figures_are_noticed():
    good = {"name": "train_step", "value": 0.5, "bar": 0.8, "holds": False}
    check("train_step", json.dumps(good))
    for wrong in (
        {"input_wait": 3929.0},
        {"deep": {"all_reduce": -0.1}},
        {"p50_ms": 0.0},
        {"value": math.nan},
        {"value": None},
        {"holds": True},
        {"holds": None},
        {"name": "another"},
    ):
        with pytest.raises((AssertionError, ValueError)):
            check("train_step", json.dumps(good | wrong))


def test_every_benchmark_is_run_and_in_the_docs():
    assert names() == {*RUNS, "gpu_interactions", "gpu_ladder"}
    text = (ROOT / "docs/measured.md").read_text(encoding="utf-8")
    table = text.partition("| name | measures |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) == names()
