"""The recipe's sizes, and ladders of files."""

import re

import pytest

from tests.errors import assert_refused
from trainer.scaling_law import ladder
from trainer.settings.scaling import RUNGS, Scaling
from trainer.tuning.flags import read_base
from wukong_tf.errors import ConfigError

BASE = read_base(["--synthetic", "--synthetic_log=interactions"])


def rungs(**fields):
    return ladder.make(Scaling(output="DIR", **fields), BASE)


def test_the_recipe_is_l_first_then_the_other_sizes_together():
    found = rungs(rungs=("0.1", *RUNGS, "100"))
    assert [rung.rung for rung in found] == [
        "0.1m", "0.3m", "1m", "3m", "10m", "30m", "100m",
    ]  # fmt: skip
    sizes = [
        tuple(r.sizes[s] for s in ("num_layers", "num_fmb", "mlp_units"))
        for r in found
    ]
    assert sizes[:3] == [(1, 4, "32"), (1, 8, "64"), (6, 8, "64")]
    assert all(layers == 8 for layers, _, _ in sizes[3:])
    for rung in found:
        rows = rung.sizes["num_fmb"]
        assert rung.sizes["num_lcb"] == rows
        ranks = rung.sizes["rank"].split(",")
        assert ranks[1:] == [str(rows)] * (len(ranks) - 1)
        assert int(ranks[0]) == min(rows, 24)


@pytest.mark.parametrize(
    "model", ["wukong", "mlp", "dcn_v2", "dlrm", "rank_mixer"]
)
def test_the_recipe_is_near_its_targets(model):
    for rung in rungs(models=(model,)):
        target = 1e6 * float(rung.rung[:-1])
        assert rung.training_flop == pytest.approx(target, rel=0.1)


def test_models_without_a_recipe_and_far_targets_are_refused():
    for fields, named in (
        ({"models": ("fm",)}, "--ladder"),
        ({"models": ("logistic_regression",)}, "no sizes"),
        ({"rungs": ("1e9",)}, "the nearest has"),
        ({"rungs": ("1", "1.001")}, "1 and 1.001 MFLOP are the same sizes"),
    ):
        with pytest.raises(ConfigError, match=named):
            rungs(**fields)


FILE = """
[mlp.small]
head_units = "8"
[mlp.large]
head_units = "32,16"
[wukong."0.5-l"]
num_layers = 2
rank = 4
"""


def test_a_file_gives_rungs_by_name(tmp_path):
    path = tmp_path / "ladder.toml"
    path.write_text(FILE)
    both = {"ladder": str(path), "models": ("mlp", "wukong")}
    assert [*map(str, rungs(**both))] == [
        "mlp small", "mlp large", "wukong 0.5-l",
    ]  # fmt: skip
    (one,) = rungs(ladder=str(path), models=("mlp",), rungs=("large",))
    assert one.sizes == {"head_units": "32,16"}


@pytest.mark.parametrize(
    "text, named",
    [
        ("[mlp", "ladder.toml: "),
        ("[wukong.a]\nrank = 1", "table [mlp.RUNG]"),
        ("mlp = 3", "table [mlp.RUNG]"),
        ("[mlp.a]\nrank = 3\n[wokong.a]", "['wokong'] are not models"),
        ("[mlp.'..']\nhead_units = '3'", "[mlp...] must be a table"),
        ("[mlp]\nhead_units = 3", "`head_units`|[mlp.head_units] must be"),
        ("[mlp.'a/b']\nhead_units = '3'", "[mlp.a/b]"),
        ("[mlp.a]\nbatch_size = 3", "`batch_size` must be a size"),
        ("[mlp.a]\nhead_units = [3]", "`head_units` must be a size"),
        ("[mlp.a]\nrank = 3", "--rank contradicts --model=mlp"),
        ("[mlp.a]\nhead_units = 'x'", "--head_units must hold integers"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(text, named, tmp_path):
    path = tmp_path / "ladder.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        rungs(ladder=str(path), models=("mlp",))
    assert any(part in str(error.value) for part in named.split("|"))
    assert re.search("ladder.toml", str(error.value))


@pytest.mark.parametrize(
    "fields, named",
    [
        ({"models": ("none",)}, "--models"),
        ({"models": ()}, "--models"),
        ({"rungs": ("1", "x")}, "--rungs"),
        ({"rungs": ("1", "1.0")}, "--rungs"),
        ({"rungs": ("-1",)}, "--rungs"),
        ({"learning_rates": ("nan",)}, "--learning_rates"),
        ({"learning_rates": ("0.01", "0.0100000001")}, "in six digits"),
        ({"results": ("a",), "plan": True}, "--plan contradicts it"),
        ({"results": ("a",), "rungs": ("1",)}, "--rungs contradicts it"),
        ({"results": ("",)}, "--results must be distinct and not empty"),
        ({"seeds": ("1", "1")}, "--seeds"),
        ({"seeds": ("-1",)}, "--seeds"),
    ],
)
def test_settings_are_checked(fields, named):
    assert_refused(lambda: Scaling(output="DIR", **fields), named)
