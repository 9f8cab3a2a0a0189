"""Rungs of a ladder: sizes of a model, by a recipe or from a TOML file.

The recipe for Wukong is the paper's (arXiv 2403.02545, section 3.8 and table
5): l first, then n_F, n_L, k and the MLP together. The baselines grow in the
width of their MLPs, as in its table 5; DCN-V2's rank grows with it, and
RankMixer's tokens. As the width of a token is a multiple of their number, the
expansion of RankMixer's MLPs fills the gaps.
"""

import math
import tomllib
from collections.abc import Iterator
from typing import Any

from trainer.data.spec import open_features
from trainer.scaling_law import records
from trainer.scaling_law.records import Rung
from trainer.settings.model import SIZES
from trainer.settings.scaling import Scaling
from trainer.tuning.flags import Flags, Value, trial_settings
from wukong_tf.config import MODEL_CONFIGS, EmbeddingModelConfig, FeatureSpec
from wukong_tf.errors import ConfigError
from wukong_tf.scaling import cost

LAYERS, ROWS = 8, 8  # where the recipe goes from l on to the other sizes
_UNITS = 8  # hidden units of an MLP for each of n_F's rows
_NEAR = 1.5  # greatest ratio of a rung's FLOP and its target


def make(scaling: Scaling, base: Flags) -> list[Rung]:
    """Returns the rungs of all models, the cheapest first.

    Args:
        scaling: settings of the ladder.
        base: flags of the trainer that all runs share.

    Raises:
        ConfigError: the file or a size is invalid, or the recipe has no
            sizes near a target.
    """
    rungs: list[Rung] = []
    for model in scaling.models:
        try:
            features = open_features(trial_settings(model, base, {}))
        except ConfigError as error:
            raise ConfigError(f"--models={model}: {error}") from error
        if scaling.ladder is None:
            listed = _by_recipe(model, base, features, scaling.targets)
        else:
            listed = _of_file(scaling, model, base, features)
        rungs += listed
    return sorted(rungs, key=lambda rung: rung.training_flop)


def _rung(model, name, sizes, base, features) -> Rung:
    settings = trial_settings(model, base, sizes)
    total = cost(settings.model.config(features))
    return Rung(
        model,
        name,
        sizes,
        total.training_flop,
        total.dense_parameters,
        total.table_parameters,
    )


def _by_recipe(
    model: str, base: Flags, features: FeatureSpec, targets: list[float]
) -> Iterator[Rung]:
    """Yields the rungs whose FLOP per example are nearest to the targets."""
    shared = trial_settings(model, base, {}).model.sizes()
    costs: list[tuple[float, dict[str, Any]]] = []
    for sizes in _candidates(model, features, shared):
        config = MODEL_CONFIGS[model](features, **{**shared, **sizes})
        costs.append((cost(config).training_flop / 1e6, sizes))
    of_recipe = {name for _, sizes in costs for name in sizes}
    if given := sorted(of_recipe & base.keys()):
        raise ConfigError(
            f"--{given[0]} must not be among the trainer's flags; the recipe "
            f"of {model} sets it. Give --ladder for other sizes."
        )
    taken: dict[float, float] = {}
    for target in targets:
        mflop, sizes = min(
            costs, key=lambda entry: abs(math.log(entry[0] / target))
        )
        if mflop in taken:
            raise ConfigError(
                f"--rungs: {taken[mflop]:g} and {target:g} MFLOP are the same "
                f"sizes of {model}, which have {mflop:.3g}."
            )
        taken[mflop] = target
        if not 1 / _NEAR < mflop / target < _NEAR:
            raise ConfigError(
                f"--rungs: {model} has no sizes of about {target:g} MFLOP per "
                f"example on these features; the nearest has {mflop:.3g}."
            )
        flags = {name: _text(value) for name, value in sizes.items()}
        yield _rung(model, f"{target:g}m", flags, base, features)


def _candidates(
    model: str, features: FeatureSpec, shared: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yields the recipe's sizes of a model, the smallest first."""
    if not issubclass(MODEL_CONFIGS[model], EmbeddingModelConfig):
        raise ConfigError(f"--models={model}: the model has no sizes.")
    config: Any = MODEL_CONFIGS[model](features, **shared)
    if model == "wukong":
        yield from _wukong(config.num_embeddings)
        return
    for step in range(105):
        units = round(8 * 2 ** (step / 8))
        if model in ("mlp", "dlrm"):
            yield {"head_units": (units,) * 3}
        elif model == "dcn_v2":
            most = config.num_embeddings * config.embedding_dim // 2
            yield {
                "num_cross_layers": 2,
                "projection_dim": max(1, min(units, most)),
                "head_units": (units,) * 3,
            }
        elif model == "rank_mixer":
            tokens = config.num_tokens
            width = tokens * -(-units // tokens)
            for expansion in (4, 3, 5):
                yield {
                    "token_dim": width,
                    "expansion": expansion,
                    "head_units": (width,),
                }
        else:
            raise ConfigError(
                f"--models={model}: the recipe has no sizes for it; give "
                "--ladder."
            )


def _wukong(inputs: int) -> Iterator[dict[str, Any]]:
    sizes = [(1, rows) for rows in range(1, ROWS)]
    sizes += [(layers, ROWS) for layers in range(1, LAYERS + 1)]
    sizes += [(LAYERS, rows) for rows in range(ROWS + 2, 514, 2)]
    for layers, rows in sizes:
        units = (_UNITS * rows,)
        yield {
            "num_layers": layers,
            "num_fmb": rows,
            "num_lcb": rows,
            # More columns than rows would add nothing to X X^T Y.
            "rank": (min(rows, inputs), *[rows] * (layers - 1)),
            "mlp_units": units,
            "head_units": units,
        }


def _text(value) -> Value:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value


def _of_file(
    scaling: Scaling, model: str, base: Flags, features: FeatureSpec
) -> Iterator[Rung]:
    """Yields the rungs of a model in --ladder that --rungs names."""
    path = str(scaling.ladder)
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--ladder={path}: {error}.") from error
    if unknown := sorted(content.keys() - MODEL_CONFIGS.keys()):
        raise ConfigError(
            f"--ladder={path}: {unknown} are not models; they are "
            f"{', '.join(MODEL_CONFIGS)}."
        )
    named = content.get(model)
    if not isinstance(named, dict) or not named:
        raise ConfigError(
            f"--ladder={path} must have a table [{model}.RUNG] for each rung "
            f"of {model}; it has none."
        )
    for name in scaling.rungs or named:
        where = f"--ladder={path}: [{model}.{name}]"
        sizes = named.get(name)
        if not isinstance(sizes, dict) or not records.NAME.fullmatch(name):
            raise ConfigError(
                f"{where} must be a table of sizes, its name {records.A_NAME}; "
                f"its rungs are {list(named)}."
            )
        for size, value in sizes.items():
            if size not in SIZES or not isinstance(value, Value):
                raise ConfigError(
                    f"{where}: `{size}` must be a size of the model, with a "
                    f"number or a text as on the command line; received "
                    f"{value!r}."
                )
        try:
            yield _rung(model, name, sizes, base, features)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
