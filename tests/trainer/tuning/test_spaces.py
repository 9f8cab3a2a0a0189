"""Search spaces: those that are shipped, and errors in others."""

import dataclasses
import random
from pathlib import Path

import pytest

from tests.errors import assert_refused, message
from tests.trainer.tuning.command import write_spaces
from tests.worlds import clicks
from trainer.settings import SECTIONS, command, shipped
from trainer.tuning import spaces
from trainer.tuning.flags import read_base, trial_flags, trial_settings
from wukong_tf.config import MODEL_CONFIGS
from wukong_tf.errors import ConfigError

SHIPPED = Path(shipped.SPACES)
BASE = {"synthetic": "--synthetic"}
ADAM = BASE | {"table_optimizer": "--table_optimizer=adam"}
FOLDERS = [
    pytest.param(SHIPPED, BASE, id="adagrad"),
    pytest.param(SHIPPED, ADAM, id="adam"),
    pytest.param(SHIPPED / "frappe", ADAM, id="frappe"),
]
FRAPPE = {"wukong", "dcn_v2", "dlrm", "mlp", "fm", "logistic_regression"}


class RandomTrial:
    """Suggests random values, as an `optuna.Trial` does, and its bounds."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.params = {}

    def suggest_float(self, name, low, high, *, log):
        ends = self.random.choice([low, high, self.random.uniform(low, high)])
        self.params[name] = ends

    def suggest_int(self, name, low, high, *, step, log):
        self.params[name] = self.random.choice(range(low, high + 1, step))

    def suggest_categorical(self, name, choices):
        self.params[name] = self.random.choice(choices)


def drawn(space, seed):
    trial = RandomTrial(seed)
    for flag, dimension in space.items():
        dimension.suggest(trial, flag)
    return {f: d.rounded(trial.params[f]) for f, d in space.items()}


def models_of(folder):
    return FRAPPE if folder.name == "frappe" else {*MODEL_CONFIGS}


def test_each_folder_has_a_file_for_each_of_its_models_and_no_others():
    for folder in (SHIPPED, SHIPPED / "frappe"):
        names = {path.stem for path in folder.glob("*.toml")}
        assert names == {"common", *models_of(folder)}


@pytest.mark.parametrize("folder, base", FOLDERS)
def test_every_model_has_a_space_of_values_that_it_accepts(folder, base):
    fields = 10 if folder.name == "frappe" else 16
    spec = dataclasses.replace(clicks.SPEC, categorical=wide(fields))
    for model in models_of(folder):
        space = spaces.read(str(folder), model, base)
        for seed in range(20):
            settings = trial_settings(model, base, drawn(space, seed))
            settings.model.config(spec)


def wide(count):
    """Features of the default width, so that every rank fits."""
    first = clicks.SPEC.categorical[0]
    return tuple(
        dataclasses.replace(first, name="user" if i == 0 else f"c{i}")
        for i in range(count)
    )


@pytest.mark.parametrize("folder, base", FOLDERS)
def test_the_common_part_is_equal_for_all_models(folder, base):
    common = dict(spaces._read_file(str(folder / "common.toml"), base))
    assert "learning_rate" in common
    assert ("table_learning_rate" in common) == (folder == SHIPPED)
    for model in models_of(folder):
        config = MODEL_CONFIGS[model]
        space = spaces.read(str(folder), model, base)
        sizes = {field.name for field in dataclasses.fields(config)}
        for flag, dimension in common.items():
            is_size = flag in {
                field.name for field in dataclasses.fields(SECTIONS["model"])
            }
            if not is_size or flag in sizes:
                assert space.pop(flag) == dimension
        assert not common.keys() & space.keys()


def test_trials_whose_tables_adam_trains_have_rates_of_adam():
    default = spaces.read(str(SHIPPED), "mlp", BASE)
    adam = spaces.read(str(SHIPPED), "mlp", ADAM)
    assert list(adam) == list(default)
    # Steps of Adam are about the rate: 0.01 to 0.5 would be far too long.
    assert adam["table_learning_rate"].high <= 0.01
    assert default["table_learning_rate"].low >= 0.01
    assert adam["dropout"] == default["dropout"]


def test_entries_for_a_value_of_a_shared_flag_are_added_or_replace(tmp_path):
    text = (
        "dropout = {choices = [0.5]}\n"
        "['table_optimizer=adam']\n"
        "dropout = {choices = [0.1]}\nwarmup_steps = {choices = [7]}\n"
        "['jit_compile=true']\nclipnorm = {choices = [1.0]}\n"
    )
    folder = str(write_spaces(tmp_path / "spaces", common=text))

    def choices(*arguments):
        space = spaces.read(folder, "mlp", read_base(arguments))
        return {f: d.choices for f, d in space.items() if f != "head_units"}

    both = ["--synthetic", "--table_optimizer=adam"]
    assert choices("--synthetic") == {"dropout": (0.5,)}
    assert choices(*both) == {"dropout": (0.1,), "warmup_steps": (7,)}
    assert choices(*both, "--jit_compile")["clipnorm"] == (1.0,)


@pytest.mark.parametrize(
    "entry, named",
    [
        ("['table_optimizer=sgd']", "`table_optimizer=sgd`: "),
        ("['none=1']", "`none=1`: "),
        ("'epochs=1' = {low = 1, high = 2}", "must be a table of entries"),
        ("'epochs=1' = 3", "`epochs=1` must be a table of entries"),
        ("none = {low = 1, high = 2}", "`none` must be a flag of the trainer"),
        ("seed = {low = 1, high = 2}", "`seed` must be a flag of the trainer"),
        ("data_dir = {choices = ['a']}", "`data_dir` must be a flag"),
        ("dropout = {low = 0.1}", "must have low and high"),
        ("dropout = 0.5", "received 0.5"),
        ("dropout = {low = 0, high = 1, size = 2}", "'size': 2"),
        ("dropout = {choices = [0.1, inf]}", "list of distinct finite"),
        ("dropout = {choices = []}", "`choices` must be a list of distinct"),
        ("dropout = {choices = [0.1, 0.1]}", "received [0.1, 0.1]"),
        ("dropout = {choices = [0.1], low = 1}", "'low': 1"),
        ("dropout = {low = 0.5, high = 0.1}", "must be at most `high`"),
        ("dropout = {low = nan, high = 0.1}", "must be finite"),
        ("dropout = {low = 0.0, high = inf}", "must be finite"),
        ("dropout = {low = '0', high = 0.1}", "must be of type float"),
        ("dropout = {low = 0.0, high = 1.0, log = true}", "above 0 with `log`"),
        ("dropout = {low = 0.1, high = 0.3, log = 1}", "must be true or false"),
        ("dropout = {low = 0.1, high = 0.3, step = 2}", "`step` must divide"),
        ("batch_size = {low = 8.0, high = 16.0}", "must be of type int"),
        ("batch_size = {low = 8, high = 17, step = 4}", "`step` must divide"),
        ("batch_size = {low = 8, high = 16, step = 0}", "of at least 1"),
        ("remat = {low = 0, high = 1}", "must have choices"),
        ("dense_optimizer = {low = 0, high = 1}", "must have choices"),
        # Refused by the trainer.
        ("batch_size = {low = 0, high = 2}", "`batch_size` = 0: --batch_size"),
        ("learning_rate = {low = 0.0, high = 1.0}", "must be above 0"),
        ("dense_optimizer = {choices = ['sgd']}", "`dense_optimizer` = 'sgd'"),
        ("head_units = {choices = ['8', 'a']}", "`head_units` = 'a'"),
        ("learning_rate = {low = 1e-3", "common.toml: "),
    ],
)
def test_errors_name_file_flag_rule_and_value(entry, named, tmp_path):
    folder = write_spaces(tmp_path / "spaces", common=entry, mlp="")
    assert_refused(
        lambda: spaces.read(str(folder), "mlp", BASE), named, "common.toml"
    )


def test_a_models_own_file_has_only_its_sizes_and_none_of_the_common_part(
    tmp_path,
):
    folder = str(
        write_spaces(tmp_path / "spaces", fm="num_fmb = {choices=[4]}")
    )
    assert_refused(
        lambda: spaces.read(folder, "fm", BASE),
        "fm.toml: `num_fmb` = 4: --num_fmb contradicts --model=fm",
    )
    write_spaces(tmp_path / "spaces", fm="batch_size = {choices = [4]}")
    assert_refused(
        lambda: spaces.read(folder, "fm", BASE),
        "fm.toml: `batch_size` must not be in common.toml too",
    )
    (tmp_path / "spaces" / "fm.toml").unlink()
    assert_refused(lambda: spaces.read(folder, "fm", BASE), "fm.toml")


def three_columns(tmp_path):
    """The shared flags of a log of three columns of ids."""
    spec = dataclasses.replace(
        clicks.SPEC, categorical=wide(3), numeric=(), vector=()
    )
    path = tmp_path / "features.json"
    path.write_text(spec.to_json())
    return {"features": f"--features={path}"}


def test_all_values_that_the_features_refuse_are_listed(tmp_path):
    base = three_columns(tmp_path)
    error = message(
        ConfigError, lambda: spaces.read(str(SHIPPED), "wukong", base)
    )
    lines = error.split("\n")
    assert len(lines) == 2
    for value, line in zip((4, 8), lines, strict=True):
        assert f"wukong.toml: `rank` = {value}: " in line
        assert "--rank" in line and "3" in line
    # Units of a feature are embeddings too.
    folder = write_spaces(
        tmp_path / "spaces",
        common="rank = {choices = [4, 8]}",
        wukong="units = {choices = ['c1:2', 'c1:1']}",
    )
    error = message(
        ConfigError, lambda: spaces.read(str(folder), "wukong", base)
    )
    assert "`rank` = 8: " in error and "`rank` = 4" not in error


@pytest.mark.parametrize(
    "model, entries, base",
    [
        (
            "rank_mixer",
            "num_tokens = {choices = [3]}\ntoken_dim = {choices = [33, 66]}",
            {},
        ),
        (
            "rank_mixer",
            "num_tokens = {low = 2, high = 64}\n"
            "token_dim = {choices = [64, 61, 29]}",
            {},
        ),
        (
            "wukong",
            "num_layers = {low = 1, high = 3}\nnum_fmb = {choices = ['4,4']}",
            {},
        ),
        (
            "mlp",
            "learning_rate_schedule = {choices = ['linear', 'constant']}\n"
            "decay_steps = {choices = [0, 90]}\n"
            "warmup_steps = {choices = [50]}",
            {"warmup_steps": "--warmup_steps=100"},
        ),
    ],
)
def test_values_that_are_valid_only_together_are_accepted(
    model, entries, base, tmp_path
):
    folder = write_spaces(tmp_path / "spaces", common="", **{model: entries})
    space = spaces.read(str(folder), model, BASE | base)
    assert len(space) == len(entries.split("\n"))


def test_a_warmup_beyond_the_decay_is_refused(tmp_path):
    text = "warmup_steps = {choices = [50, 100, 500]}"
    folder = write_spaces(tmp_path / "spaces", common=text)
    base = ["--synthetic", "--learning_rate_schedule=linear"]
    error = message(
        ConfigError,
        lambda: spaces.read(
            str(folder), "mlp", read_base([*base, "--decay_steps=100"])
        ),
    )
    assert [f"`warmup_steps` = {n}:" in error for n in (50, 100, 500)] == [
        False, True, True,
    ]  # fmt: skip


def test_shared_flags_that_the_features_refuse_are_one_error(tmp_path):
    base = three_columns(tmp_path) | {"rank": "--rank=8"}
    folder = write_spaces(tmp_path / "spaces", wukong="")
    error = message(
        ConfigError, lambda: spaces.read(str(folder), "wukong", base)
    )
    assert error.startswith("--models=wukong: ") and "\n" not in error


def test_a_space_without_values_is_refused(tmp_path):
    folder = write_spaces(tmp_path / "spaces", common="", mlp="")
    assert_refused(
        lambda: spaces.read(str(folder), "mlp", BASE), "mlp has values to try"
    )


def test_flags_that_count_steps_keep_their_rows():
    base = read_base(
        ["--batch_size=1000", "--eval_every_steps=30", "--max_steps=7"]
        + ["--run_dir=R", "--mode=plan", "--seed=3", "--decay_steps=0"]
    )
    assert not {"run_dir", "mode", "seed"} & base.keys()
    flags = trial_flags("mlp", base, {"batch_size": 3000})
    assert flags["eval_every_steps"] == "--eval_every_steps=10"
    assert flags["max_steps"] == "--max_steps=2"
    assert flags["decay_steps"] == "--decay_steps=0"
    flags = trial_flags("mlp", base, {"batch_size": 9_000, "max_steps": 5})
    assert flags["max_steps"] == "--max_steps=5"
    flags = trial_flags("mlp", base, {"batch_size": 90_000})
    assert flags["max_steps"] == "--max_steps=1"
    assert trial_flags("mlp", base, {})["max_steps"] == "--max_steps=7"


def test_flags_of_a_command_line_are_those_that_it_gives(tmp_path):
    path = tmp_path / "some.flags"
    path.write_text("# A comment.\n--batch_size=8\n--rank=4,8\n--noplots\n")
    given = command.read([f"--flagfile={path}", "--dropout=0.5"])
    assert given == {
        "batch_size": "--batch_size=8",
        "rank": "--rank=4,8",
        "plots": "--noplots",
        "dropout": "--dropout=0.5",
    }
    before = command.check(["--run_dir=R", f"--flagfile={path}"])
    after = command.check(["--run_dir=R", *given.values()])
    assert after.model == dataclasses.replace(before.model, dropout=0.5)
    assert after.training == before.training
    for wrong in (["--none=1"], ["word"], [f"--flagfile={tmp_path}/no"]):
        assert_refused(lambda wrong=wrong: command.read(wrong), "")
