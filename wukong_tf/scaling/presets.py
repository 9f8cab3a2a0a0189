"""Sizes of Wukong that the paper trained, by name.

Source: arXiv 2403.02545 v4, table 5 for the internal data set and appendix A
for Criteo.
"""

import dataclasses
import difflib
import functools
from typing import Any

from wukong_tf.config import WukongConfig
from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.config.feature_spec import FeatureSpec
from wukong_tf.errors import ConfigError

INTERNAL_ROWS = 720  # n_0, from the width of 115,200 at d = 160 in table 5
INTERNAL_TABLES = 627_000_000_000  # parameters of all its tables
INTERNAL_EXAMPLES = 146_000_000_000
CRITEO_ROWS = 27  # 26 categorical features and one row of 13 numbers

# GFLOP per example and parameters in billions as printed; l, n_F = n_L, k,
# width of the three hidden layers; LogLoss in percent relative to DLRM on task
# 1 and task 2.
_INTERNAL: tuple[tuple[Any, ...], ...] = (
    ("0.53", 627.74, 2, 8, 24, 2048, -0.35, -0.32),
    ("1.25", 627.82, 4, 32, 24, 2048, -0.45, -0.43),
    ("2.12", 627.95, 8, 32, 24, 2048, -0.53, -0.49),
    ("5.6", 628.46, 8, 48, 48, 4096, -0.60, -0.60),
    ("22.23", 630.96, 8, 96, 96, 8192, -0.67, -0.66),
    ("61", 636.99, 8, 96, 96, 16384, -0.70, -0.69),
    ("108", 644.0, 8, 192, 192, 16384, -0.76, -0.76),
)
_HEAD_UNITS = (512, 512)


@dataclasses.dataclass(frozen=True)
class Preset:
    """One named set of sizes.

    Args:
        name: preset name.
        sizes: fields of a WukongConfig.
        chosen: names of the sizes that the paper does not give.
        printed: the paper's figures for the model, including the rank if a
            layer cannot have all of it.
    """

    name: str
    sizes: dict[str, Any]
    chosen: tuple[str, ...]
    printed: dict[str, float]

    def config(self, features: FeatureSpec, **changes: Any) -> WukongConfig:
        """Returns the preset over `features`, some fields changed."""
        return WukongConfig(features, **{**self.sizes, **changes})


def internal_features() -> FeatureSpec:
    """Returns one feature of a single id for each row of the internal presets.

    Only widths matter; tables are added as the paper gives them.
    """
    return FeatureSpec(
        tuple(
            CategoricalFeature(f"feature_{index}", 1)
            for index in range(INTERNAL_ROWS)
        )
    )


@functools.cache
def presets() -> dict[str, Preset]:
    """Returns every preset by name.

    "internal_GFLOPgf" are the paper's seven scale points, such as
    "internal_5.6gf"; "criteo_lL_nN_mlpMxU" is its Criteo search space, with
    L layers, n_F = n_L = N, and M hidden layers of U units.
    """
    all_presets = [_internal(*row) for row in _INTERNAL]
    all_presets += [
        _criteo(layers, rows, depth, units)
        for layers in (1, 2, 3, 4)
        for rows in (8, 16)
        for depth in (1, 2, 3, 4)
        for units in (512, 1024, 2048)
    ]
    return {preset.name: preset for preset in all_presets}


def preset(name: str) -> Preset:
    """Returns the preset called `name`.

    Raises:
        ConfigError: there is none; names similar ones.
    """
    known = presets()
    if name not in known:
        close = difflib.get_close_matches(str(name), known, 7, 0.0)
        raise ConfigError(
            f"preset {name!r} does not exist; the most similar of the "
            f"{len(known)} presets are {', '.join(sorted(close))}."
        )
    return known[name]


def _internal(gflop, billions, layers, rows, rank, units, task_1, task_2):
    return Preset(
        f"internal_{gflop}gf",
        {
            "embedding_dim": 160,
            "num_layers": layers,
            "num_fmb": rows,
            "num_lcb": rows,
            "rank": _ranks(rank, layers, rows),
            "mlp_units": (units,) * 3,
            "head_units": _HEAD_UNITS,
            "bottom_mlp_units": (512, 256),
        },
        ("head_units", "bottom_mlp_units"),
        {
            "rank": rank,
            "gflop": float(gflop),
            "parameters": billions * 1e9,
            "task_1_logloss_percent": task_1,
            "task_2_logloss_percent": task_2,
        },
    )


def _criteo(layers, rows, depth, units):
    return Preset(
        f"criteo_l{layers}_n{rows}_mlp{depth}x{units}",
        {
            "embedding_dim": 128,
            "num_layers": layers,
            "num_fmb": rows,
            "num_lcb": rows,
            "rank": _ranks(24, layers, rows),
            "mlp_units": (units,) * depth,
            "head_units": _HEAD_UNITS,
            "bottom_mlp_units": (512, 256),
        },
        ("head_units",),
        {"rank": 24},
    )


def _ranks(rank, layers, rows):
    """Returns the k of each layer: as printed, but at most its input rows.

    The paper prints k = 24 for layers with 16 input rows; a Y with more columns
    than rows gives X X^T Y no more than X X^T has.
    """
    later = min(rank, 2 * rows)
    return rank if later == rank else (rank, *[later] * (layers - 1))
