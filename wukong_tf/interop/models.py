"""Whole models: a state dict to a configuration and arrays, and back."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from wukong_tf.config import CategoricalFeature, FeatureSpec, WukongConfig
from wukong_tf.errors import InteropError
from wukong_tf.interop import checks, embeddings, files, mlps, stacks
from wukong_tf.interop.layouts import Layout, layout_of
from wukong_tf.interop.state import State
from wukong_tf.models import Wukong
from wukong_tf.names import identifier
from wukong_tf.runs.arrays import assign_slots, model_slots, read_arrays

_STACK = "dense/stack/"


def read(
    kind: str,
    source: files.Source,
    features: FeatureSpec,
    *,
    prefix: str = "",
    inference_only: bool = False,
) -> tuple[WukongConfig, dict[str, np.ndarray]]:
    """Reads another implementation's Wukong.

    The activations inside MLPs are not in a state dict: they must be ReLU.
    Dropout is not either; the configuration has none.

    Args:
        kind: one of `KINDS`.
        source: a state dict, or path of one, .safetensors or by torch.save.
        features: the columns, in the order of their rows of X_0.
        prefix: beginning of the model's keys, such as "module."; others are
            ignored. Defaults to "".
        inference_only: whether to accept what is equal in inference only:
            batch normalizations, which are folded into the layers before them,
            and linear layers without a bias. Defaults to False.

    Returns:
        The configuration, and the arrays by the names of our checkpoints, of
        the state dict's dtypes, bfloat16 as float32.

    Raises:
        InteropError: an array is missing or left over, has another shape, or
            has no exact counterpart; the message names it.
        ConfigError: a size is impossible, or the file's package is missing.

    Example:
        >>> config, arrays = read("mlcc", "x.pth", features)  # doctest: +SKIP
    """
    layout = layout_of(kind)
    state = _state(layout, source, prefix)
    state.refuse(layout.reasons)
    sizes, stack = stacks.read(
        state, layout, f"{layout.layers}.", inference_only
    )
    width = sizes[0].width
    embeddings.check(layout, features, width)
    _check_rows(state, features, sizes[0].rows)
    arrays = embeddings.read(state, layout, features, width)
    arrays |= {_STACK + path: array for path, array in stack.items()}
    head = _read_head(state, layout, sizes[-1], inference_only)
    arrays |= stacks.named(head, _head(features))
    state.finish()
    config = WukongConfig(
        features,
        embedding_dim=width,
        bottom_mlp_units=(),
        numeric_embeddings=max(1, len(features.numeric)),
        head_units=tuple(kernel.shape[1] for kernel, _ in head[:-1]),
        norm_epsilon=checks.NORM_EPSILON,
        **stacks.arguments(layout, sizes),
    )
    config.check_ranks()
    return config, arrays


def _check_rows(state, features, expected):
    rows = len(features.categorical) + len(features.numeric)
    if rows != expected:
        raise InteropError(
            f"{state.where}: its layers take {expected} rows of X_0; the "
            f"features give {rows}."
        )


def _read_head(state, layout, last, inference_only):
    """Returns kernels and biases of the MLP on the last layer's rows."""
    inputs = (last.num_fmb + last.num_lcb) * last.width
    head = mlps.read(state, layout.head, "", inputs, inference_only)
    outputs = head[-1][0].shape[1]
    if outputs != 1:
        raise InteropError(
            f"{state.where}: the last layer must give one logit; it gives "
            f"{outputs}."
        )
    return head


def read_stack(
    kind: str,
    source: files.Source,
    *,
    prefix: str | None = None,
    inference_only: bool = False,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads only the interaction layers of another implementation.

    Args:
        kind: one of `KINDS`.
        source: as in `read`.
        prefix: beginning of the layers' keys, up to their index; other keys are
            ignored. Defaults to None, that of the implementation's model, such
            as "_wukong_layers.".
        inference_only: as in `read`.

    Returns:
        The arguments of `InteractionStack`, and its arrays by their path in it,
        such as "layer_0/lcb/kernel".

    Raises:
        InteropError: as in `read`.
    """
    layout = layout_of(kind)
    if prefix is None:
        prefix = f"{layout.layers}."
    state = _state(layout, source, prefix)
    sizes, arrays = stacks.read(state, layout, "", inference_only)
    state.finish()
    return stacks.arguments(layout, sizes), arrays


def write(
    kind: str,
    config: WukongConfig,
    arrays: Mapping[str, np.ndarray],
    path: str | os.PathLike[str] | None = None,
    *,
    prefix: str = "",
    inference_only: bool = False,
) -> dict[str, np.ndarray]:
    """Returns, and with `path` writes, a state dict of another implementation.

    Args:
        kind: one of `KINDS`.
        config: the configuration.
        arrays: its arrays by the names of our checkpoints, of `read` or of
            `arrays(model)`.
        path: a .safetensors file, or any other for torch.save. Defaults to
            None, no file.
        prefix: put before every key. Defaults to "".
        inference_only: whether to write a batch normalization that changes
            nothing in inference if the implementation must have one. Defaults
            to False.

    Raises:
        InteropError: the implementation has no such model, or an array is
            missing or left over or has another shape than the model's; the
            message names it.
        ConfigError: the package that writes the file is missing.
        OSError: the file cannot be written.
    """
    layout = layout_of(kind)
    embeddings.check(layout, config.features, config.embedding_dim)
    checks.check(layout, config, inference_only)
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    state = State(arrays, f"interop {layout.name}: arrays")
    for name, shape in _shapes(config).items():
        state.take(name, shape)
    state.finish()
    stack = {
        name.removeprefix(_STACK): array
        for name, array in arrays.items()
        if name.startswith(_STACK)
    }
    head = stacks.dense_layers(arrays, _head(config.features))
    block_mlp, last = checks.chains(layout, config)
    tensors = {
        **embeddings.write(layout, config.features, arrays),
        **stacks.write(layout, block_mlp, stack, f"{layout.layers}."),
        **mlps.write(last, "", head),
    }
    tensors = {prefix + key: np.asarray(a) for key, a in tensors.items()}
    if path is not None:
        files.save(path, tensors)
    return tensors


def _shapes(config: WukongConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a model's arrays, without allocating its tables."""
    features = config.features
    one_row = tuple(
        CategoricalFeature(each.name, 1, table=each.table_name)
        for each in features.categorical
    )
    small = dataclasses.replace(features, categorical=one_row)
    model = Wukong(dataclasses.replace(config, features=small))
    shapes = {slot.name: slot.shape for slot in model_slots(model)}
    return shapes | {
        f"tables/{each.table_name}": (each.num_ids, config.embedding_dim)
        for each in features.categorical
    }


def build(
    config: WukongConfig, arrays: Mapping[str, np.ndarray], **kwargs: Any
) -> Wukong:
    """Returns the model of `config` with the weights `arrays`.

    Args:
        config: the configuration that `read` returned.
        arrays: the arrays that it returned.
        **kwargs: arguments of `Wukong`, such as dtype="float64".
    """
    model = Wukong(config, **kwargs)
    assign_slots(model_slots(model), arrays)
    return model


def arrays(model: Wukong) -> dict[str, np.ndarray]:
    """Returns a model's arrays by the names of our checkpoints."""
    return read_arrays(model_slots(model))


def _state(layout: Layout, source, prefix) -> State:
    where = "" if isinstance(source, Mapping) else f" {os.fspath(source)}"
    arrays = {
        key.removeprefix(prefix): array
        for key, array in files.load(source).items()
        if key.startswith(prefix)
    }
    return State(arrays, f"interop {layout.name}{where}")


def _head(features: FeatureSpec) -> str:
    return f"dense/head_{identifier(features.tasks[0].name)}/"
