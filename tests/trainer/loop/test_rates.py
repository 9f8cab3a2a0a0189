"""Learning rates over a run."""

import pytest

from tests.trainer import cli
from tests.worlds import small_models
from trainer.loop.rates import Rates, plateaus
from trainer.settings import Settings, Training
from wukong_tf.config import WukongConfig
from wukong_tf.errors import ConfigError

CONFIG = WukongConfig(small_models.SPEC, rank=2)


def evaluations(text):
    """One for each letter: b for a best one."""
    return [{"best": letter == "b"} for letter in text]


@pytest.mark.parametrize(
    "text, patience, count",
    [
        ("", 1, 0),
        ("bbb", 1, 0),
        ("b--b-", 1, 3),
        ("b--b-", 2, 1),
        ("-----", 2, 2),
        ("b--b--", 2, 2),
    ],
)
def test_plateaus_are_counted(text, patience, count):
    assert plateaus(evaluations(text), patience) == count


def test_rates_fall_on_plateaus_to_their_floor():
    training = Training(
        learning_rate_schedule="plateau",
        plateau_factor=0.5,
        final_rate_fraction=0.2,
        warmup_steps=2,
    )
    rates = Rates(CONFIG, training, steps=10)
    seen = []
    for text in ("b", "b-", "b-b", "b-b-", "b-b--"):
        fell = rates.follow(evaluations(text))
        seen.append((fell, float(rates.dense(5)) / training.learning_rate))
    assert [fell for fell, _ in seen] == [False, True, False, True, True]
    assert [r for _, r in seen] == pytest.approx([1, 0.5, 0.5, 0.25, 0.2])
    assert float(rates.tables(0)) == pytest.approx(0.1 / 2 * 0.2)
    assert not rates.follow(evaluations("b-b---"))


@pytest.mark.parametrize("tables", [True, False])
def test_rates_decay_over_all_epochs_or_the_steps_given(tables):
    options = {
        "learning_rate_schedule": "linear",
        "decay_table_rate": tables,
    }
    rates = Rates(CONFIG, Training(**options), steps=10)
    assert float(rates.dense(5)) == pytest.approx(0.5e-3)
    assert float(rates.tables(5)) == pytest.approx(0.05 if tables else 0.1)
    rates = Rates(CONFIG, Training(**options, decay_steps=20), steps=10)
    assert float(rates.dense(5)) == pytest.approx(0.75e-3)


def test_a_decay_that_ends_in_warm_up_is_refused():
    training = Training(learning_rate_schedule="cosine", warmup_steps=10)
    with pytest.raises(ConfigError, match=r"--decay_steps.*received 10 and 10"):
        Rates(CONFIG, training, steps=10)


@pytest.mark.parametrize(
    "flags, words",
    [
        (
            ["--dense_optimizer=schedule_free", "--weight_decay=0.1"],
            "--weight_decay must be 0",
        ),
        (
            ["--dense_optimizer=schedule_free", "--average_weights=0.9"],
            "--average_weights must be 0",
        ),
        (["--dense_optimizer=muon", "--precision=float64"], "float64"),
        (["--gradient_accumulation_steps=0"], "must be at least 1"),
        (["--final_rate_fraction=1.5"], "must be at most 1"),
        (["--decay_steps=9"], "contradicts --learning_rate_schedule=constant"),
        (
            ["--learning_rate_schedule=plateau", "--decay_steps=9"],
            "applies only to linear, cosine",
        ),
        (["--nodecay_table_rate"], "--decay_table_rate=False contradicts"),
        (
            ["--learning_rate_schedule=cosine", "--plateau_patience=2"],
            "--plateau_patience=2 contradicts",
        ),
        (
            [
                "--learning_rate_schedule=linear",
                *("--warmup_steps=500", "--decay_steps=100"),
            ],
            "--decay_steps must be above --warmup_steps; received 100 and 500",
        ),
    ],
)
def test_flags_that_contradict_are_refused(flags, words):
    needed = ["--synthetic", "--run_dir=x"]
    with (
        cli.parsed(*needed, *flags) as parsed,
        pytest.raises(ConfigError, match=words),
    ):
        Settings.from_flags(parsed)


def test_the_plan_refuses_what_training_does(capsys):
    flags = ["--learning_rate_schedule=linear", "--warmup_steps=500"]
    rows = ["--synthetic", "--synthetic_train_rows=4096", "--batch_size=512"]
    assert cli.run("--mode=plan", *flags, *rows) == 2
    assert "must end after warm-up" in capsys.readouterr().err
