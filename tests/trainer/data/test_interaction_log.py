"""The log of interactions: laws, orders and strengths of its terms."""

import itertools

import numpy as np
import pytest

from tests.trainer.cli import arguments, run
from trainer.checkpoints import run_directory
from trainer.data import block_log, held_out, interaction_log
from trainer.data.block_log import SPLITS
from trainer.data.interaction_log import InteractionLog, id_law
from trainer.data.synthetic import SyntheticLog
from trainer.data.synthetic_source import SyntheticSource
from trainer.settings import Interactions
from wukong_tf import files, runs
from wukong_tf.errors import ConfigError, ContentError
from wukong_tf.runs import read_features

LOG = InteractionLog(seed=3)
# So small that all its rows are known.
SMALL = InteractionLog(
    seed=1,
    sizes=Interactions(
        synthetic_fields=5,
        synthetic_ids=4,
        synthetic_latent_dim=3,
        synthetic_terms=9,
        synthetic_term_dim=2,
        synthetic_max_order=4,
        synthetic_decay=0.7,
    ),
)


def every_row(log):
    """All rows that differ, and their probabilities."""
    names = log.spec.feature_names
    law = id_law(log.sizes.synthetic_ids)
    ids = np.array(list(itertools.product(range(len(law)), repeat=len(names))))
    return dict(zip(names, ids.T, strict=True)), law[ids].prod(axis=1)


def corners(log, random):
    """Rows [2^n] that have one of two ids in each column, which differ."""
    names = log.spec.feature_names
    count = log.sizes.synthetic_ids
    ends = [random.choice(count, 2, replace=False) for _ in names]
    which = np.array(list(itertools.product((0, 1), repeat=len(names))))
    return {
        name: ends[column][which[:, column]]
        for column, name in enumerate(names)
    }


def mixed_differences(values, count):
    """Mixed differences of `values` [2^count] over every set of columns."""
    values = values.reshape([2] * count)
    for axis in range(count):
        low, high = np.split(values, 2, axis)
        values = np.concatenate([low, high - low], axis)
    return {
        frozenset(np.nonzero(corner)[0]): values[corner]
        for corner in itertools.product((0, 1), repeat=count)
    }


def test_ids_follow_their_law():
    batch, _ = LOG.rows("valid", 0, 100_000)
    law = id_law(100)
    assert law.sum() == pytest.approx(1)
    assert law.min() * 1_000_000 > 1000  # rows of the rarest in a million
    for name in ("field_01", "field_24"):
        assert batch[name].dtype == np.int32
        seen = np.bincount(batch[name], minlength=100)
        error = np.sqrt(100_000 * law * (1 - law))
        assert (np.abs(seen - 100_000 * law) < 5 * error).all()
    one, other = batch["field_01"], batch["field_02"]
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / 100_000**0.5


def test_terms_have_mean_zero_and_follow_the_spectrum():
    rows, law = every_row(SMALL)
    variances = []
    for term in SMALL.terms:
        values = term(rows)
        assert law @ values == pytest.approx(0, abs=1e-12)
        variances.append(law @ values**2)
    expected = np.arange(1, 10) ** (-2 * 0.7)
    expected *= interaction_log.STDDEV**2 / expected.sum()
    np.testing.assert_allclose(variances, expected, rtol=1e-9)
    np.testing.assert_allclose(
        [term.strength for term in SMALL.terms], expected**0.5, rtol=1e-9
    )


def test_logits_are_the_terms_sum_and_give_the_base_rate():
    rows, law = every_row(SMALL)
    logits = SMALL.logits(rows)
    bias = law @ logits
    np.testing.assert_allclose(
        logits, bias + sum(term(rows) for term in SMALL.terms), atol=1e-12
    )
    assert round(bias, 2) == pytest.approx(bias)
    rate = law @ (1 / (1 + np.exp(-logits)))
    assert rate == pytest.approx(interaction_log.BASE_RATE, rel=0.05)


def test_default_sizes_give_a_click_logs_base_rate_and_auc():
    batch, probability = LOG.rows("test", 0, 50_000)
    assert 0.09 < probability.mean() < 0.11
    assert probability.var() < LOG.logits(batch).var()
    best = SyntheticSource(LOG, "test", 50_000).attainable()["click"]
    assert 0.8 < best["auc"] < 0.85
    label = batch["label"].astype(bool)
    loss = -np.log(np.where(label, probability, 1 - probability))
    error = loss.std() / len(loss) ** 0.5
    assert loss.mean() == pytest.approx(best["logloss"], abs=5 * error)


def test_a_term_of_order_k_interacts_in_k_columns_and_no_more():
    names = SMALL.spec.feature_names
    rows = corners(SMALL, np.random.default_rng(0))
    orders = []
    for term in SMALL.terms:
        columns = frozenset(names.index(name) for name in term.factors)
        orders.append(len(columns))
        for among, value in mixed_differences(term(rows), len(names)).items():
            if among == columns:
                assert abs(value) > 1e-6
            elif not among <= columns:
                assert value == pytest.approx(0, abs=1e-12)
    assert orders == [2, 3, 4] * 3


def test_mixed_differences_are_products_of_differences():
    """Those of the logit, against the factors of the terms that reach it.

    A set of columns gets its difference from the terms that have all of them:
    products of differences in the set, and of first ends in the other columns.
    """
    names = SMALL.spec.feature_names
    rows = corners(SMALL, np.random.default_rng(1))
    found = mixed_differences(SMALL.logits(rows), len(names))
    for among, value in found.items():
        expected = 0.0
        for term in SMALL.terms if among else ():
            if not among <= {names.index(name) for name in term.factors}:
                continue
            product = 1.0
            for name, factor in term.factors.items():
                first, last = factor[rows[name][0]], factor[rows[name][-1]]
                inside = names.index(name) in among
                product = product * (last - first if inside else first)
            expected += np.sum(product)
        if among:
            assert value == pytest.approx(expected, abs=1e-12)
    assert max(len(among) for among in found if abs(found[among]) > 1e-9) == 4


def test_default_terms_take_orders_two_to_eight_in_turn():
    orders = [len(term.factors) for term in LOG.terms]
    assert orders[:15] == [*range(2, 9), *range(2, 9), 2]
    assert {name for term in LOG.terms for name in term.factors} == set(
        LOG.spec.feature_names
    )


def test_another_number_of_terms_keeps_the_first_but_for_their_scale():
    fewer = InteractionLog(3, Interactions(synthetic_terms=10))
    for one, other in zip(fewer.terms, LOG.terms, strict=False):
        assert one.factors.keys() == other.factors.keys()
        scale = one.strength / other.strength
        *_, same = one.factors
        np.testing.assert_array_equal(one.factors[same], other.factors[same])
        assert one.mean == pytest.approx(other.mean * scale)


@pytest.mark.parametrize(
    "sizes, words",
    [
        ({"fields": 7}, ["max_order", "at most --synthetic_fields=7", "8"]),
        ({"latent_dim": 3}, ["term_dim", "--synthetic_latent_dim=3", "4"]),
        ({"ids": 8}, ["latent_dim must be below --synthetic_ids=8"]),
        ({"max_order": 1}, ["--synthetic_max_order must be at least 2"]),
    ],
)
def test_sizes_that_cannot_be(sizes, words):
    with pytest.raises(ConfigError) as error:
        Interactions(**{f"synthetic_{name}": n for name, n in sizes.items()})
    for word in words:
        assert word in str(error.value)


def test_held_out_rows_are_reopened(tmp_path):
    source = SyntheticSource(SMALL, "test", 70)
    path = str(tmp_path / "held_out.json")
    files.write_json(path, held_out.describe("test", source))
    again = held_out.reopen(path, SMALL.spec)
    assert (again.log, again.num_rows) == (SMALL, 70)
    assert again.attainable() == source.attainable()
    assert again.sample(70).equals(source.sample(70))


def test_the_trainer_plans_reports_and_knows_the_log(tmp_path, capsys):
    rows = {f"synthetic_{split}_rows": 600 for split in ("valid", "test")}
    options = {
        **{"synthetic": True, "synthetic_log": "interactions", **rows},
        **{"synthetic_train_rows": 2000, "model": "logistic_regression"},
        **{"synthetic_fields": 9, "synthetic_ids": 50},
    }
    assert run(*arguments(mode="plan", **options)) == 0
    assert "450 of them in tables" in capsys.readouterr().out
    options["run_dir"] = str(tmp_path / "run")
    assert run(*arguments(**options)) == 0
    report = (tmp_path / "run" / "report" / "metrics.json").read_text()
    sizes = Interactions(synthetic_fields=9, synthetic_ids=50)
    best = SyntheticSource(InteractionLog(0, sizes), "test", 600).attainable()
    assert f'"attainable_auc": {best["click"]["auc"]}' in report
    capsys.readouterr()
    assert run(*arguments(**options, synthetic_terms=7)) == 2
    assert "synthetic_terms was 100, is 7" in capsys.readouterr().err


def test_a_run_ends_if_its_log_would_have_other_rows(
    tmp_path, capsys, monkeypatch
):
    rows = {f"synthetic_{split}_rows": 600 for split in ("valid", "test")}
    options = {
        **{"synthetic": True, "synthetic_log": "interactions", **rows},
        **{"synthetic_train_rows": 2000, "model": "logistic_regression"},
        **{"synthetic_fields": 8, "synthetic_ids": 9},
        "run_dir": str(tmp_path / "run"),
    }
    assert run(*arguments(**options)) == 0
    path = str(tmp_path / "run" / "held_out.json")
    spec = read_features(options["run_dir"])
    held_out.reopen(path, spec)
    monkeypatch.setattr(interaction_log, "STDDEV", 1.4)
    block_log._block.cache_clear()
    with pytest.raises(ContentError, match="test rows .* digest was"):
        held_out.reopen(path, spec)
    capsys.readouterr()
    assert run(*arguments(**options)) == 2
    assert "different: data.digest was" in capsys.readouterr().err


@pytest.mark.parametrize("log", [SMALL, SyntheticLog(2)])
def test_runs_of_older_versions_have_no_digest(log, tmp_path):
    path = str(tmp_path / "held_out.json")
    content = held_out.describe("test", SyntheticSource(log, "test", 70))
    assert content["synthetic"].pop("digest") == log.digest("test")
    files.write_json(path, content)
    assert held_out.reopen(path, log.spec).log == log
    old = {
        **{"format": 1, "model": {"model": "mlp"}, "training": {}},
        **{"data": {"seed": 1}},
    }
    now = {**old, "data": {"seed": 1, "digest": log.digest("train")}}
    run_dir = str(tmp_path / "run")
    with run_directory.locked(run_dir) as held:
        held.claim(old, log.spec)
        held.claim(now, log.spec)
    assert runs.read_config(run_dir)["data"] == now["data"]


def test_digests_differ_by_split_seed_and_task():
    logs = [
        SMALL,
        LOG,
        SyntheticLog(0),
        SyntheticLog(0, ("click", "conversion")),
    ]
    digests = {log.digest(split) for log in logs for split in SPLITS}
    assert len(digests) == 12
