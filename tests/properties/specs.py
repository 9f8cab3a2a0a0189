"""Strategies: specs of any features, rows that they are logged in, models."""

import dataclasses
import random
from typing import Any

from hypothesis import strategies as st

from tests.properties.logs import Row, integers, names, texts
from wukong_tf.config import (
    CategoricalFeature,
    EmbeddingGroup,
    FactorizationMachineConfig,
    FeatureSpec,
    LogisticRegressionConfig,
    MLPConfig,
    ModelConfig,
    NumericFeature,
    Task,
    VectorFeature,
    WukongConfig,
)

WIDTHS = (None, None, 2)


@dataclasses.dataclass(frozen=True)
class Scored:
    """A model's configuration, and rows that it scores.

    Args:
        config: of the model.
        rows: raw rows, as they were logged; None is missing.
        seed: of the model's weights.
    """

    config: ModelConfig
    rows: list[Row]
    seed: int


@st.composite
def scored(draw) -> Scored:
    """Any spec, a model of it, and rows."""
    spec = draw(specs())
    pools = draw(st.fixed_dictionaries(_pools(spec)))
    generator = random.Random(draw(st.integers(0, 2**32)))
    rows = [
        _row(spec, pools, generator) for _ in range(draw(st.integers(1, 20)))
    ]
    return Scored(draw(configs(spec)), rows, draw(st.integers(0, 2**16)))


def _row(spec, pools, generator):
    """A row drawn from the pools, weights as many as their bag's values."""
    row = {name: generator.choice(pool) for name, pool in pools.items()}
    for feature in spec.categorical:
        if feature.weights:
            bag = row[feature.name]
            row[feature.weights] = bag and [
                generator.choice([0.0, 0.5, 1.0, 3.0]) for _ in bag
            ]
    return row


@st.composite
def specs(draw) -> FeatureSpec:
    """Any spec: every kind of feature, in any number and order."""
    named = draw(
        st.lists(
            names(parquet=True), min_size=2, max_size=7, unique=True
        ).filter(_are_free)
    )
    tasks = draw(st.integers(1, min(3, len(named) - 1)))
    groups: list[EmbeddingGroup] = []
    found: dict[str, list[Any]] = {
        "categorical": [],
        "numeric": [],
        "vector": [],
    }
    for name in named[tasks:]:
        kind = draw(
            st.sampled_from(["categorical"] * 3 + ["numeric", "vector"])
        )
        make = {
            "categorical": _categorical(name, found["categorical"]),
            "numeric": _numeric(name),
            "vector": st.builds(
                VectorFeature,
                st.just(name),
                st.integers(1, 3),
                st.integers(1, 2),
            ),
        }[kind]
        found[kind].append(draw(make))
    if found["categorical"] and draw(st.booleans()):
        groups.append(EmbeddingGroup("rare", draw(st.integers(1, 2)), (3,)))
        found["categorical"] = draw(_grouped(found["categorical"]))
        if not any(f.embedding_group for f in found["categorical"]):
            groups = []
    return FeatureSpec(
        categorical=tuple(found["categorical"]),
        numeric=tuple(found["numeric"]),
        vector=tuple(found["vector"]),
        tasks=tuple(
            Task(
                name,
                f"{name}_label",
                negative_rate=draw(st.sampled_from([1.0, 1.0, 0.2])),
            )
            for name in named[:tasks]
        ),
        embedding_groups=tuple(groups),
    )


def _are_free(named):
    """Whether no name is one that is made of another."""
    made = {f"{name}_label" for name in named}
    made |= {f"{name}_weights" for name in named}
    return not made & set(named)


@st.composite
def _categorical(draw, name, others):
    """A feature of ids or raw values, on its own or another's table."""
    raw = draw(st.sampled_from([None, "string", "string", "int64", "float"]))
    options: dict[str, Any] = {"raw": raw}
    if raw == "float":
        number = st.floats(-100, 100, width=32, allow_subnormal=False)
        points = st.lists(number, min_size=1, max_size=4, unique=True)
        boundaries = tuple(sorted(draw(points)))
        return CategoricalFeature(
            name, 4 + len(boundaries), raw=raw, boundaries=boundaries
        )
    if draw(st.booleans()):
        options |= {
            "pooling": draw(st.sampled_from(["sum", "mean", "sqrtn"])),
            "max_ids": draw(st.integers(1, 3)),
        }
        if draw(st.booleans()):
            options["weights"] = f"{name}_weights"
    same = [
        f
        for f in others
        if f.raw == raw
        and f.raw != "float"
        and f.table is None
        # Of a bag, id 0 is padding.
        and f.num_ids > ("pooling" in options)
    ]
    if same and draw(st.booleans()):
        first = draw(st.sampled_from(same))
        return CategoricalFeature(
            name,
            first.num_ids,
            embedding_dim=first.embedding_dim,
            table=first.name,
            units=first.units,
            oov_buckets=first.oov_buckets,
            oov_id=draw(_oov_id(options, first.num_ids)),
            **options,
        )
    options |= draw(
        st.one_of(
            st.fixed_dictionaries({"embedding_dim": st.sampled_from(WIDTHS)}),
            st.just({"units": 2}),
        )
    )
    if raw is None:
        num_ids = draw(st.integers(1 + bool(options.get("pooling")), 9))
        oov_id = draw(_oov_id(options, num_ids))
        return CategoricalFeature(name, num_ids, oov_id=oov_id, **options)
    if draw(st.booleans()):
        return CategoricalFeature(name, draw(st.integers(3, 9)), **options)
    one = texts() if raw == "string" else integers().map(str)
    words = draw(st.lists(one.filter(bool), max_size=5, unique=True))
    buckets = draw(st.integers(1, 3))
    if raw == "int64":
        options["missing_value"] = draw(st.sampled_from([-1, 0]))
    return CategoricalFeature(
        name,
        2 + buckets + len(words) + draw(st.integers(0, 1)),
        vocabulary=tuple(words),
        oov_buckets=buckets,
        **options,
    )


def _oov_id(options, num_ids):
    if options["raw"] is not None:
        return st.none()
    least = 1 if options.get("pooling") else 0
    return st.one_of(st.none(), st.integers(least, num_ids - 1))


@st.composite
def _numeric(draw, name):
    least, most = draw(
        st.sampled_from([(None, None), (-5.0, None), (None, 7.5), (-1.0, 30.0)])
    )
    return NumericFeature(
        name,
        draw(st.sampled_from(["none", "log1p"])),
        mean=draw(st.floats(-5, 5)),
        stddev=draw(st.floats(0.5, 50)),
        clip_min=least,
        clip_max=most,
        missing=draw(st.sampled_from([None, 0.0, 2.5, -100.0])),
    )


@st.composite
def _grouped(draw, features):
    """The features, some of which are in the group "rare"."""
    return [
        dataclasses.replace(f, embedding_group="rare")
        if f.units == 1 and draw(st.booleans())
        else f
        for f in features
    ]


def _pools(spec: FeatureSpec) -> dict[str, st.SearchStrategy]:
    """By column, a few of the values that it may hold."""
    found = {}
    for feature in spec.categorical:
        one = _values(spec, feature)
        if feature.pooling:
            one = st.lists(one, max_size=feature.max_ids)
        if feature.raw or feature.pooling:
            one = st.one_of(one, st.none())
        found[feature.name] = one
    for numeric in spec.numeric:
        found[numeric.name] = st.one_of(
            st.floats(-100, 100, width=32),
            st.integers(-9, 9),
            st.none(),
        )
    for vector in spec.vector:
        number = st.floats(-3, 3, width=32)
        found[vector.name] = st.lists(
            number, min_size=vector.size, max_size=vector.size
        )
    return {
        name: st.lists(one, min_size=1, max_size=4)
        for name, one in found.items()
    }


def _values(spec, feature):
    """Values that are there: known ones, unknown ones and those at edges."""
    if feature.raw is None:
        return st.integers(1 if feature.pooling else 0, feature.num_ids - 1)
    if feature.raw == "float":
        return st.one_of(
            st.sampled_from((*feature.boundaries, -1e-45, 1e-40)),
            st.floats(-200, 200, width=32),
        )
    known = spec.vocabulary(feature.table_name) or ()
    if feature.raw == "int64":
        one = integers().filter(lambda value: value != feature.missing_value)
        known = [int(w) for w in known if int(w) != feature.missing_value]
    else:
        one = texts().filter(lambda text: text != "")
    return st.one_of(st.sampled_from(list(known)), one) if known else one


@st.composite
def configs(draw, spec: FeatureSpec) -> ModelConfig:
    """A small model of the spec; most are of the fewest operators."""
    kind = draw(st.sampled_from(["lr", "lr", "lr", "fm", "mlp", "wukong"]))
    if kind == "lr":
        return LogisticRegressionConfig(spec)
    sizes: dict[str, Any] = {"embedding_dim": 3, "bottom_mlp_units": ()}
    if kind == "fm":
        return FactorizationMachineConfig(spec, **sizes)
    if spec.numeric and draw(st.booleans()):
        sizes["numeric_embeddings"] = 2
    rows = spec.num_embeddings(sizes.get("numeric_embeddings", 1))
    # The norm of one product is 0, computed as the difference of two large
    # numbers: its rounding is not a score to compare.
    if kind == "mlp" or rows == 1:
        return MLPConfig(spec, head_units=(4,), **sizes)
    return WukongConfig(
        spec,
        num_layers=draw(st.integers(1, 2)),
        num_fmb=2,
        num_lcb=1,
        rank=1,
        mlp_units=(3,),
        head_units=(4,),
        fm=draw(st.sampled_from(["projected", "full", "attentive"])),
        attention_embeddings=2,
        attention_units=(3,),
        fmb_activation=draw(st.sampled_from(["linear", "relu"])),
        residual_bias=draw(st.booleans()),
        mlp_activation=draw(
            st.sampled_from(["relu", "sigmoid", "silu", "tanh"])
        ),
        mlp_bias=draw(st.booleans()),
        mlp_glu=draw(st.booleans()),
        norm_epsilon=draw(st.sampled_from([1e-5, 1.0])),
        **sizes,
    )
