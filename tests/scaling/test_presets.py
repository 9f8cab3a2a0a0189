"""The paper's sizes by name."""

import re
from pathlib import Path

import pytest

from tests.errors import assert_refused
from wukong_tf.config import CategoricalFeature, FeatureSpec, WukongConfig
from wukong_tf.scaling import cost, preset, presets
from wukong_tf.scaling.__main__ import table
from wukong_tf.scaling.presets import (
    CRITEO_ROWS,
    INTERNAL_ROWS,
    INTERNAL_TABLES,
)

INTERNAL = [name for name in presets() if name.startswith("internal_")]


def features(rows):
    return FeatureSpec(
        tuple(CategoricalFeature(f"c{i}", 10) for i in range(rows))
    )


def test_there_are_the_seven_scale_points_and_the_search_space():
    assert len(INTERNAL) == 7
    assert len(presets()) == 7 + 4 * 2 * 4 * 3
    for name, found in presets().items():
        assert found.name == name
        assert set(found.chosen) <= set(found.sizes)


def test_criteo_s_names_say_their_sizes():
    names = [name for name in presets() if name not in INTERNAL]
    for name in names:
        pattern = r"criteo_l(\d)_n(\d+)_mlp(\d)x(\d+)"
        layers, rows, depth, units = map(
            int, re.fullmatch(pattern, name).groups()
        )
        config = preset(name).config(features(CRITEO_ROWS))
        sizes = (config.num_layers, config.num_fmb, config.num_lcb)
        assert sizes == (layers, rows, rows)
        assert config.mlp_units == (units,) * depth


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_is_a_model(name):
    rows = INTERNAL_ROWS if name in INTERNAL else CRITEO_ROWS
    config = preset(name).config(features(rows))
    assert isinstance(config, WukongConfig)
    assert cost(config).macs > 0


def test_the_printed_parameters_are_met_but_for_a_percent_of_the_dense_part():
    """Tables of 627e9, and a dense part that nobody printed in full."""
    for name in INTERNAL:
        found = preset(name)
        dense = cost(found.config(features(INTERNAL_ROWS))).dense_parameters
        total = INTERNAL_TABLES + dense
        assert total == pytest.approx(found.printed["parameters"], rel=0.006)


def test_operations_grow_as_those_that_are_printed():
    ours = [
        cost(preset(name).config(features(INTERNAL_ROWS))).training_flop / 1e9
        for name in INTERNAL
    ]
    printed = [preset(name).printed["gflop"] for name in INTERNAL]
    assert ours == sorted(ours)
    for mine, theirs in zip(ours, printed, strict=True):
        assert theirs / 2 < mine < 2 * theirs


def test_a_field_given_beside_a_preset_wins():
    config = preset("internal_5.6gf").config(features(720), num_layers=2)
    assert (config.num_layers, config.rank) == (2, 48)


def test_refuses_a_name_that_is_none():
    assert_refused(
        lambda: preset("internal_5.6"),
        "preset 'internal_5.6' does not exist",
        "internal_5.6gf",
    )
    assert_refused(lambda: preset(None), "preset None")


def test_the_docs_show_the_table_as_it_is_made():
    page = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"
    assert table() in page.read_text(encoding="utf-8")
