"""An installation without extras: a line where one is missing, not a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer import cli
from wukong_tf import extras
from wukong_tf.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
SIZES = [
    *("--synthetic", "--synthetic_train_rows=256", "--batch_size=64"),
    *("--synthetic_valid_rows=64", "--synthetic_test_rows=64"),
    *("--embedding_dim=2", "--num_layers=1", "--mlp_units=4"),
]
# Every package of setup.py's extras is hidden from this process.
SCRIPT = """
import contextlib, io, json, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in json.loads(sys.argv[1]):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from absl import flags
from export import flags as export_flags, main as export_main, serve
from tests.trainer import cli

folder, found = sys.argv[2], {}

def note(name, call, *arguments):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = call(*arguments)
    found[name] = (code, said.getvalue())

def parsed(module, *arguments):
    values = flags.FlagValues()
    module.define(values)
    return values(["program", *arguments]), values

sizes = json.loads(sys.argv[3])
note("train", cli.run, f"--run_dir={folder}/run", *sizes)
for model in ("dlrm", "dcn_v2"):
    note(model, cli.run, f"--run_dir={folder}/{model}", f"--model={model}",
         "--synthetic", "--embedding_dim=2")
note("serve", serve.run, *parsed(serve, "--model=nothing"))
note("export", export_main.run, *parsed(
    export_flags, f"--run_dir={folder}/run", f"--output={folder}/out"))
print(json.dumps(found))
"""
HIDDEN = (
    *("matplotlib", "tensorboard", "keras_rs", "aiohttp"),
    *("prometheus_client", "apache_beam", "tf2onnx"),
)


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """The folder, and (exit code, what was said) of each command."""
    folder = tmp_path_factory.mktemp("without")
    command = [sys.executable, "-c", SCRIPT, json.dumps(HIDDEN), str(folder)]
    done = subprocess.run(
        [*command, json.dumps(SIZES)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TF_USE_LEGACY_KERAS": "1",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.full
def test_a_run_ends_well_with_one_line_for_each_package(without):
    import tensorflow as tf

    folder, found = without
    code, said = found["train"]
    assert code == 0, said
    for package in ("matplotlib", "tensorboard"):
        (line,) = [line for line in said.splitlines() if package in line]
        assert f"pip install -e '{ROOT}[report]'" in line
        # Before the rows are counted, and so before the first step.
        assert said.index(line) < said.index("train: 256 rows")
    report = json.loads((folder / "run/report/metrics.json").read_text())
    assert 0 < report["test"]["click"]["logloss"] < 2
    assert os.listdir(folder / "run/report") == ["metrics.json"]
    records = (folder / "run/metrics.jsonl").read_text().splitlines()
    losses = {
        record["step"]: record["loss"]
        for record in map(json.loads, records)
        if record["kind"] == "train"
    }
    # The events that TensorBoard would have written.
    written = {}
    for path in (folder / "run/tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag == "train/loss":
                    plugin = value.metadata.plugin_data.plugin_name
                    assert plugin == "scalars"
                    written[event.step] = float(tf.make_ndarray(value.tensor))
    assert written == pytest.approx(losses)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("dlrm", "keras_rs"),
        ("dcn_v2", "keras_rs"),
        ("serve", "aiohttp"),
        ("export", "tf2onnx"),
    ],
)
def test_what_cannot_do_without_is_refused_at_the_start(
    without, name, packages
):
    folder, found = without
    code, said = found[name]
    assert code == 2, said
    (line,) = [line for line in said.splitlines() if "error: " in line]
    assert f"{packages} cannot be imported" in line
    assert "pip install" in line
    assert not (folder / name).exists()
    assert not (folder / "out").exists()


def test_a_broken_package_counts_as_missing(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import sys\nsys.nothing()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert extras.lack("json") is None
    said = extras.lack("half_there")
    assert "half_there cannot be imported" in said
    assert "nothing" in said and "pip install half_there" in said
    extras.require("--flag=x", "json", "os")
    with pytest.raises(ConfigError, match="^--flag=x: half_there cannot"):
        extras.require("--flag=x", "json", "half_there")


def test_a_lookup_that_is_not_there_is_refused(tmp_path, monkeypatch, capsys):
    name = "tensorflow_recommenders"
    monkeypatch.setitem(sys.modules, name, None)
    run_dir = tmp_path / "run"
    code = cli.run(f"--run_dir={run_dir}", *SIZES, "--lookup=tfrs")
    assert code == 2
    said = capsys.readouterr().err
    assert f"--lookup=tfrs: {name} cannot be imported" in said
    assert "pip install tensorflow-recommenders tf-keras" in said
    assert not run_dir.exists()
