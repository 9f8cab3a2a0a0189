"""Runs `python -m trainer.prepare` in this process."""

import contextlib
import io
import json
from pathlib import Path

import pyarrow.dataset as pd

from tests.programs import call
from trainer import prepare
from wukong_tf.config import FeatureSpec


def run(dataset, source, output, *more):
    """(exit code, standard output, standard error) of the command line."""
    own = (f"--dataset={dataset}", f"--input={source}", f"--output={output}")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = call(prepare, *own, "--workers=1", *more)
    return code, out.getvalue(), err.getvalue()


def prepared(dataset, source, output: Path, *more):
    """The spec and the manifest of what the command makes."""
    code, _, err = run(dataset, source, output, *more)
    assert code == 0, err
    text = (output / "features.json").read_text(encoding="utf-8")
    manifest = json.loads((output / "manifest.json").read_text())
    return FeatureSpec.from_json(text), manifest


def contents(output: Path) -> dict[str, bytes]:
    """Bytes of every file, by name."""
    return {path.name: path.read_bytes() for path in output.iterdir()}


def rows(output: Path, split: str) -> dict[str, list]:
    """The columns of a split, shards one after the other."""
    files = sorted(str(path) for path in output.glob(f"{split}-*.parquet"))
    return pd.dataset(files).to_table().to_pydict() if files else {}


def words(spec: FeatureSpec, name: str) -> list[str | None]:
    """Of a feature, the raw value behind each id."""
    (feature,) = [f for f in spec.categorical if f.name == name]
    vocabulary = spec.vocabulary(feature.table_name) or ()
    return [None] * feature.first_id + list(vocabulary)
