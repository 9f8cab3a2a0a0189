"""Costs of the parts of a model, in closed form."""

import dataclasses

from wukong_tf.config import (
    DCNv2Config,
    DLRMConfig,
    EmbeddingModelConfig,
    FactorizationMachineConfig,
    LogisticRegressionConfig,
    MLPConfig,
    RankMixerConfig,
    WukongConfig,
)
from wukong_tf.scaling.operations import (
    Part,
    dense,
    float32,
    mlp,
    norm,
    repeat,
)


@dataclasses.dataclass(frozen=True)
class Table:
    """One embedding table.

    Args:
        name: table name.
        rows: one per id.
        width: floats in a row.
    """

    name: str
    rows: int
    width: int


def tables(config) -> list[Table]:
    """Returns the tables of a model, each once, in feature order."""
    by_name = {}
    for feature in config.features.categorical:
        width = len(config.features.tasks)
        if isinstance(config, EmbeddingModelConfig):
            width = config.table_width(feature)
        by_name[feature.table_name] = Table(
            feature.table_name, feature.num_ids, width
        )
    return list(by_name.values())


def embedding(config: EmbeddingModelConfig) -> list[Part]:
    """Returns lookups, pooling, projections, groups, numbers and vectors."""
    spec, d = config.features, config.row_width
    lookups = Part("lookups and pooling")
    projections = Part("projections to d")
    inputs: dict[str, int] = {}
    for feature in spec.categorical:
        width = config.table_width(feature)
        lookups += Part("", activations=width * feature.ids_per_row)
        if feature.pooling:
            pooled = feature.ids_per_row * width
            lookups += Part("", macs=pooled, activations=width)
        group = feature.embedding_group
        if group:
            inputs[group] = inputs.get(group, 0) + width
        elif width != d * feature.kept_units:
            projections += dense(width, d, bias=False)
    groups = Part("embedding groups")
    for members in spec.embedding_groups:
        units = (*members.mlp_units, members.num_embeddings * d)
        groups += mlp(inputs[members.name], units)
    numbers = Part("numeric features")
    if spec.numeric:
        units = (*config.bottom_mlp_units, config.numeric_embeddings * d)
        numbers += mlp(len(spec.numeric), units)
    vectors = Part("vector features")
    for vector in spec.vector:
        units = (*config.bottom_mlp_units, vector.num_embeddings * d)
        vectors += mlp(vector.size, units)
    parts = [lookups, projections, groups, numbers, vectors]
    return [float32(part) for part in parts if part.activations]


def wukong(config: WukongConfig) -> list[Part]:
    """Returns embeddings, each layer by its blocks, and heads."""
    config.check_ranks()
    rows, d = config.num_embeddings, config.embedding_dim
    parts = embedding(config)
    for index, sizes in enumerate(config.layer_sizes):
        parts += _layer(config, f"layer {index}", rows, *sizes)
        rows = sizes[0] + sizes[1]
    return parts + heads(config, rows * d)


def _layer(config, name, rows, num_fmb, num_lcb, rank, units) -> list[Part]:
    """Returns the parts of one interaction layer with `rows` rows in."""
    d, out = config.embedding_dim, num_fmb + num_lcb
    linear = "linear_path" not in config.remove
    parts = []
    if "fmb" not in config.remove:
        parts += _fmb(config, name, rows, num_fmb, rank, units)
    if linear and "lcb" not in config.remove:
        parts.append(_compress(f"{name} lcb", rows, num_lcb, d))
    if linear and "residual" not in config.remove:
        add = Part(f"{name} residual", elementwise=out * d)
        if rows != out:
            add += _compress("", rows, out, d)
            if config.residual_bias:
                add += Part("", parameters=out, elementwise=out * d)
        parts.append(add)
    last = norm(d, out, f"{name} norm")
    return [*parts, last + Part("", activations=out * d)]


def _fmb(config, name, rows, num_fmb, rank, units) -> list[Part]:
    d = config.embedding_dim
    columns = rows if config.fm == "full" else rank
    parts = []
    product = Part("", macs=columns * rows * d, activations=columns * d)
    fm = Part(f"{name} fm", macs=rows * columns * d, activations=rows * columns)
    if config.fm == "projected":
        fm += dataclasses.replace(product, parameters=rows * rank)
    elif config.fm == "attentive":
        fm += product
        m = config.attention_embeddings
        attention = _compress(f"{name} attention", rows, m, d)
        attention += norm(m * d, 1)
        attention += mlp(m * d, (*config.attention_units, rows * rank))
        parts.append(attention)
    fm += norm(rows * columns, 1)
    mapped = mlp(
        rows * columns,
        (*units, num_fmb * d),
        f"{name} mlp",
        bias=config.mlp_bias,
        glu=config.mlp_glu,
    )
    if config.fmb_activation != "linear":
        mapped += Part("", elementwise=num_fmb * d)
    return [*parts, fm, mapped]


def _compress(name, rows, out, d):
    return Part(name, rows * out, rows * out * d, activations=out * d)


def heads(config, inputs: int, units=None) -> list[Part]:
    """Returns an MLP to the logit for each task."""
    units = config.head_units if units is None else units
    return [
        mlp(inputs, (*units, 1), f"head {task.name}")
        for task in config.features.tasks
    ]


def logistic_regression(config: LogisticRegressionConfig) -> list[Part]:
    """Returns a weight for each id and number, and a bias, for each task."""
    spec, tasks = config.features, len(config.features.tasks)
    total = Part("linear model", tasks)
    for feature in spec.categorical:
        size = tasks * feature.ids_per_row
        total += Part("", activations=size)
        if feature.pooling:
            total += Part("", macs=size)
    if spec.numeric:
        total += dense(len(spec.numeric), tasks)
    for vector in spec.vector:
        total += dense(vector.size, tasks)
    rows = len(spec.categorical) + bool(spec.numeric) + len(spec.vector)
    return [float32(total + Part("", elementwise=rows * tasks))]


def fm(config: FactorizationMachineConfig) -> list[Part]:
    """Returns embeddings with a first-order column, and sums over rows."""
    rows, width = config.num_embeddings, config.row_width
    tasks = len(config.features.tasks)
    own = tasks * width if tasks > 1 else 0
    pairs = Part(
        "pairs", tasks + own, elementwise=4 * rows * width, activations=width
    )
    return [*embedding(config), float32(pairs)]


def mlp_model(config: MLPConfig) -> list[Part]:
    """Returns embeddings and heads."""
    size = config.num_embeddings * config.embedding_dim
    return [*embedding(config), *heads(config, size)]


def dlrm(config: DLRMConfig) -> list[Part]:
    """Returns embeddings, dot products of all pairs, and heads."""
    rows, d = config.num_embeddings, config.embedding_dim
    numbers = config.numeric_embeddings if config.features.numeric else 0
    inputs = rows * (rows - 1) // 2
    dots = Part("dots", macs=rows * rows * d, activations=rows * rows + inputs)
    if rows < 2:
        dots = Part("dots")
    return [*embedding(config), dots, *heads(config, inputs + numbers * d)]


def dcn_v2(config: DCNv2Config) -> list[Part]:
    """Returns embeddings, cross layers and the deep network."""
    size = config.num_embeddings * config.embedding_dim
    parts = embedding(config)
    for index in range(config.num_cross_layers):
        cross = Part(f"cross {index}", elementwise=2 * size, activations=size)
        if config.projection_dim is None:
            cross += dense(size, size)
        else:
            cross += dense(size, config.projection_dim, bias=False)
            cross += dense(config.projection_dim, size)
        parts.append(cross)
    if config.structure == "stacked":
        return [*parts, *heads(config, size)]
    deep = mlp(size, config.head_units, "deep")
    deep += Part("", elementwise=config.head_units[-1])
    return [*parts, deep, *heads(config, size + config.head_units[-1], ())]


def rank_mixer(config: RankMixerConfig) -> list[Part]:
    """Returns embeddings, tokens, blocks of per-token MLPs, and heads."""
    count, width = config.num_tokens, config.token_dim
    parts = [*embedding(config), _tokenwise("tokens", config.chunk, config)]
    inner = config.expansion * width
    for index in range(config.num_layers):
        block = Part(f"block {index}", elementwise=2 * count * width)
        block += repeat(count, dense(width, inner))
        block += Part("", elementwise=count * inner, activations=count * inner)
        block += repeat(count, dense(inner, width))
        # Each residual sum is read by its norm.
        block += Part("", activations=2 * count * width)
        block += norm(width, count) + norm(width, count)
        parts.append(block)
    pool = Part("mean", elementwise=count * width, activations=width)
    return [*parts, pool, *heads(config, width)]


def _tokenwise(name, inputs, config):
    part = repeat(config.num_tokens, dense(inputs, config.token_dim))
    return dataclasses.replace(part, name=name)
