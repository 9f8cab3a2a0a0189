"""What a program prints, imports and refuses before its first step."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.errors import assert_refused
from tests.trainer import cli
from tests.worlds import small_models, small_runs
from trainer.process import loading

ROOT = Path(__file__).resolve().parents[3]


def python(program, *arguments, **environment):
    """The ended process of a program, with TensorFlow's variables unset."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TF_")
    }
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


LINES = """
import os
from trainer.process import loading

with loading.without_lines(loading.NOISE):
    os.write(2, b"1 port.cc:153] oneDNN custom operations are on. You\\n")
    os.write(2, b"2 cuInit: a real error\\n")
    os.write(2, b"3 failed call to cuInit: INTERNAL: UNKNOWN ERROR (303)\\n")
    os.write(2, b"4 failed call to cuInit: INTERNAL: NO DEVICE (100)\\n")
    os.write(2, b"5 the last words")
    {end}
os.write(2, b"\\n6 oneDNN custom operations are on\\n")
"""


@pytest.mark.parametrize(
    "end, code, more",
    [
        ("pass", 0, ["6 oneDNN custom operations are on"]),
        ("os.abort()", -6, []),
    ],
)
def test_only_noise_is_dropped_and_nothing_else_lost(end, code, more):
    ended = python(LINES.format(end=end))
    assert ended.returncode == code
    assert [line for line in ended.stderr.splitlines() if line] == [
        "2 cuInit: a real error",
        "4 failed call to cuInit: INTERNAL: NO DEVICE (100)",
        "5 the last words",
        *more,
    ]


def test_without_grep_everything_is_printed(tmp_path):
    ended = python(LINES.format(end="pass"), PATH=str(tmp_path))
    assert [line[0] for line in ended.stderr.splitlines()] == [*"123456"]


LOAD = """
import json, os, sys, time
from trainer.process import loading

loading.prepare()
loading.load_tensorflow()
hidden = {"jax", "matplotlib", "pandas", "scipy", "sklearn"}
print(json.dumps(sorted(hidden & sys.modules.keys())))
import keras, tensorflow as tf
print(json.dumps([keras.backend.backend(), tf.keras.Model.__module__[:8]]))
import matplotlib.figure  # as the report does
"""


@pytest.mark.slow
def test_tensorflow_loads_in_silence_and_without_what_nobody_needs():
    ended = python(LOAD)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "loading TensorFlow\n"
    hidden, versions = map(json.loads, ended.stdout.splitlines())
    assert hidden == []
    assert versions == ["tensorflow", "tf_keras"]


@pytest.mark.slow
def test_whoever_asks_for_the_log_gets_it():
    ended = python(
        "from trainer.process import loading; loading.prepare()\n"
        "import tensorflow",
        TF_CPP_MIN_LOG_LEVEL="0",
    )
    assert ended.returncode == 0
    assert ended.stderr.startswith("loading TensorFlow\n")
    assert "oneDNN custom operations are on" in ended.stderr


def test_packages_send_nothing_home_unless_the_user_says_so(monkeypatch):
    for name in loading.NO_TELEMETRY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    loading.prepare()
    found = {name: os.environ[name] for name in loading.NO_TELEMETRY}
    assert found == {**loading.NO_TELEMETRY, "ORT_DISABLE_TELEMETRY": "0"}


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert_refused(loading.load_tensorflow, "KERAS_BACKEND chose 'jax'")


def test_hidden_packages_are_there_again(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with loading._without(["colorsys", "json"]):
        with pytest.raises(ImportError):
            __import__("colorsys")
        assert sys.modules["json"] is json  # already imported: stays
    assert __import__("colorsys").rgb_to_hsv(1, 1, 1) == (0, 0, 1)


def test_the_phases_of_a_start_add_up(monkeypatch, capsys):
    now = iter([10.0, 12.5, 13.0, 20.0])
    monkeypatch.setattr(loading.time, "perf_counter", now.__next__)
    start = loading.Stopwatch(began=8.0)
    start.lap("imports")
    start.lap("data")
    start.lap("model")
    start.first_step(3.0)
    assert start.phases == {
        "imports": 2.0,
        "data": 2.5,
        "model": 0.5,
        "tracing": 4.0,
        "step": 3.0,
    }
    assert capsys.readouterr().err == (
        "first step after 12.0 s: imports 2.0 s, data 2.5 s, model 0.5 s, "
        "tracing 4.0 s, step 3.0 s\n"
    )


@pytest.mark.slow
def test_a_run_says_where_the_time_to_its_first_step_went(tmp_path, capsys):
    few = {f"synthetic_{split}_rows": 128 for split in ("train", "valid")}
    options = {"run_dir": tmp_path, "synthetic": True, "batch_size": 64}
    more = {"synthetic_test_rows": 128, "max_steps": 1, "plots": False}
    assert cli.run(*cli.arguments(**options, **few, **more, **cli.SIZES)) == 0
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if line.startswith("first step after")]
    total, *parts = map(float, re.findall(r" ([\d.]+) s", line))
    assert total == pytest.approx(sum(parts), abs=0.05 * (len(parts) + 1))
    names = re.findall(r"[:,] ([a-z ]+) [\d.]+ s", line)
    assert names == "imports,data,model,file checks,tracing,step".split(",")
    order = ["building the model", "tracing the training step", line]
    places = [lines.index(each) for each in order]
    assert places == sorted(places)
    shown = next(n for n, text in enumerate(lines) if "step 1/1: loss" in text)
    assert places[-1] < shown


EARLY = """
import json, sys
from tests.trainer import cli
from export import flags as export_flags, main as export_main, score
from tests.programs import call
from trainer import compare

for module, *arguments in json.loads(sys.argv[1]):
    match module:
        case "trainer.main":
            code = cli.run(*arguments, pictures=True)
        case "trainer.compare":
            code = call(compare, *arguments)
        case "export.main":
            code = call(export_main, *arguments, define=export_flags.define)
        case "export.score":
            code = call(score, *arguments)
    print("code", code)
    print(json.dumps("tensorflow" in sys.modules))
"""


def test_errors_of_files_come_before_tensorflow(tmp_path):
    """Each with the flag or the path that it is about."""
    good = tmp_path / "good"
    good.mkdir()
    spec = {"categorical": [{"name": "a", "num_ids": 9}]}
    (good / "features.json").write_text(json.dumps(spec))
    (tmp_path / "features.json").write_text("{")
    (tmp_path / "run").mkdir()
    run = tmp_path / "trained"
    small_runs.write_config(run, small_models.CONFIG)
    (run / "checkpoints" / "step-0000000001").mkdir(parents=True)
    train = ["trainer.main", "--run_dir=new", "--mode=train"]
    cases = {
        f"--data_dir={tmp_path}/none": "none/features.json: [Errno 2]",
        f"--data_dir={tmp_path}": "features.json",
        f"--data_dir={good}": "--mode=train needs train rows",
        f"--data_dir={good} --train_files={good}/x*.parquet": "no file matches",
        f"--data_dir={good} --rank=99": "--rank",
        "--synthetic --compare_runs=nowhere": "--compare_runs=nowhere",
        "--synthetic --init_from=nowhere": "nowhere/config.json",
        "--synthetic --early_stopping_task=buy": "--early_stopping_task",
    }
    commands = [[*train, *case.split()] for case in cases]
    texts = [*cases.values()]
    for mode, text in (("eval", "no checkpoint"), ("predict", "no checkpoint")):
        more = ["--synthetic"] if mode == "eval" else ["--predict_files=x"]
        more += ["--output=o"] if mode == "predict" else []
        for run_dir, said in (
            ("nowhere", "--run_dir=nowhere: there is no such run"),
            (tmp_path / "run", text),
            (f"{run} --checkpoint=7", "checkpoint '7' does not exist"),
            (f"{run} --keep_units=b:1", "`keep_units` must name features"),
        ):
            own = f"trainer.main --mode={mode} --run_dir={run_dir}".split()
            commands.append([*own, *more])
            texts.append(said)
    for command, text in {
        f"export.main --run_dir={run} --checkpoint=7 --output=o": "'7' does",
        f"export.main --run_dir={run} --keep_units=b:1 --output=o": "units",
        f"trainer.compare {run} {tmp_path}/none": "none: there is no such run",
        f"export.score --model={run} --output=o --input=x.csv": "x.csv",
        f"export.score --model={run} --output=o --input={__file__}": "manifest",
    }.items():
        commands.append(command.split())
        texts.append(text)
    ended = python(EARLY, json.dumps(commands))
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()
    assert said == ["code 2", "false"] * len(commands)
    errors = ended.stderr.splitlines()
    for text, error in itertools.zip_longest(texts, errors):
        assert error.startswith("error: ") and text in error, (text, error)
