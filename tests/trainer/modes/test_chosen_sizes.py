"""Sizes that nobody gave are printed, and those that do not fit refused."""

import json

import numpy as np
import pytest

from tests.trainer import cli
from tests.worlds import logs
from wukong_tf.config import MODEL_CONFIGS, CategoricalFeature, FeatureSpec


@pytest.fixture
def few(tmp_path):
    """A log of two features."""
    spec = FeatureSpec(
        (CategoricalFeature("user", 5), CategoricalFeature("item", 7))
    )

    def table(rows, seed):
        random = np.random.default_rng(seed)
        ids = {"user": 5, "item": 7, "label": 2}
        return logs.as_table(
            {n: random.integers(0, k, rows) for n, k in ids.items()}
        )

    logs.write_log(tmp_path, spec, table, {"train": 300, "valid": 300})
    return tmp_path


def test_the_plan_says_what_was_given_and_what_chosen(few, capsys):
    data = f"--data_dir={few}"
    assert cli.run("--mode=plan", data) == 0
    chosen, *_ = capsys.readouterr().out.splitlines()
    assert chosen.startswith("sizes chosen for 2 embeddings: ")
    for size in ("num_fmb=8", "num_lcb=8", "rank=2,8,8", "head_units=128"):
        assert size in chosen.split()
    # Of numbers, which the log lacks, and of another kind of Y.
    for name in ("numeric_embeddings", "attention_units"):
        assert f" {name}=" not in chosen
    sizes = ["--rank=1", "--mlp_units=4,2/3/5"]
    assert cli.run("--mode=plan", data, *sizes) == 0
    given, chosen, *_ = capsys.readouterr().out.splitlines()
    assert given == "sizes given: rank=1 mlp_units=4,2/3/5"
    for name in ("rank", "mlp_units"):
        assert f" {name}=" not in chosen
    for model in sorted(set(MODEL_CONFIGS) - {"wukong"}):
        assert cli.run("--mode=plan", data, f"--model={model}") == 0
        assert "sizes chosen" in capsys.readouterr().out
    # What is printed can be given.
    rank = next(s for s in chosen.split() if s.startswith("num_layers="))
    assert cli.run("--mode=plan", data, f"--{rank}") == 0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--rank=3"], "--rank"),
        (["--num_layers=2", "--rank=2,17"], "--rank"),
        (["--preset=criteo_l1_n8_mlp1x512"], "--preset=criteo"),
        (["--num_fmb=0"], "--num_fmb"),
        (["--num_layers=2", "--num_lcb=1,2,3"], "--num_lcb"),
        (["--dropout=1.5"], "--dropout"),
        (["--fm=half"], "--fm"),
        (["--model=dcn_v2", "--projection_dim=33"], "--projection_dim"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_flag(few, flags, named, capsys):
    run_dir = few / "run"
    code = cli.run(f"--data_dir={few}", f"--run_dir={run_dir}", *flags)
    assert code == 2
    assert named in capsys.readouterr().err
    assert not run_dir.exists()


@pytest.mark.full
def test_a_log_of_two_features_trains_by_defaults_and_goes_on(few, capsys):
    arguments = [f"--data_dir={few}", f"--run_dir={few}/run"]
    arguments += ["--batch_size=128", "--num_layers=2"]
    assert cli.run(*arguments, "--max_steps=2") == 0
    said = capsys.readouterr().err
    assert "sizes given: num_layers=2" in said
    assert "sizes chosen for 2 embeddings: " in said
    model = json.loads((few / "run/config.json").read_text())["model"]
    assert model["rank"] == [2, 8]
    assert cli.run(*arguments, "--max_steps=3") == 0
    assert cli.run("--mode=eval", *arguments) == 0
