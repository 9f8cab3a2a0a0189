"""Interaction layers: theirs to the arrays of an InteractionStack, and back."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from wukong_tf.errors import InteropError
from wukong_tf.interop import mlps
from wukong_tf.interop.layouts import Chain, Layout
from wukong_tf.interop.state import State


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of one interaction layer.

    Args:
        rows: n, embeddings in.
        width: d, the width of an embedding.
        num_fmb: n_F, embeddings out of the factorization machine block.
        num_lcb: n_L, embeddings out of the linear compress block.
        rank: k, columns of the projection, or None without one.
        mlp_units: hidden units of the block's MLP.
    """

    rows: int
    width: int
    num_fmb: int
    num_lcb: int
    rank: int | None
    mlp_units: tuple[int, ...]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the layer's arrays, those of its MLP aside."""
        n, out = self.rows, self.num_fmb + self.num_lcb
        flat = n * (self.rank or n)
        shapes: dict[str, tuple[int, ...]] = {
            "fmb/norm/gamma": (flat,),
            "fmb/norm/beta": (flat,),
            "lcb/kernel": (n, self.num_lcb),
            "norm/gamma": (self.width,),
            "norm/beta": (self.width,),
        }
        if self.rank is not None:
            shapes["fmb/projection"] = (n, self.rank)
        if n != out:
            shapes |= {"residual/kernel": (n, out), "residual/bias": (out,)}
        return shapes


def read(
    state: State, layout: Layout, prefix: str, inference_only: bool
) -> tuple[list[Sizes], dict[str, np.ndarray]]:
    """Takes all interaction layers out of a state dict.

    Args:
        state: the state dict.
        layout: its keys.
        prefix: beginning of the layers' keys, up to their index.
        inference_only: as in `mlps.read`.

    Returns:
        The sizes of each layer, and the arrays by their path in the stack.
    """
    pattern = re.compile(re.escape(prefix) + r"(\d+)\..+")
    found = filter(None, map(pattern.fullmatch, state))
    count = 1 + max((int(match[1]) for match in found), default=0)
    sizes: list[Sizes] = []
    arrays: dict[str, np.ndarray] = {}
    for index in range(count):
        start = f"{prefix}{index}."
        size, layer = _read_layer(state, layout, start, inference_only)
        if sizes:
            _check_fits(state.where, start, sizes[-1], size)
        sizes.append(size)
        arrays |= {f"layer_{index}/{k}": array for k, array in layer.items()}
    return sizes, arrays


def arguments(layout: Layout, sizes: Iterable[Sizes]) -> dict[str, Any]:
    """Returns the arguments of an InteractionStack with layers of `sizes`."""
    sizes = list(sizes)
    full = sizes[0].rank is None
    return {
        "num_layers": len(sizes),
        "num_fmb": _once(size.num_fmb for size in sizes),
        "num_lcb": _once(size.num_lcb for size in sizes),
        "rank": None if full else _once(size.rank for size in sizes),
        "mlp_units": _once(size.mlp_units for size in sizes),
        "fm": "full" if full else "projected",
        "fmb_activation": layout.activation,
        "residual_bias": layout.residual_bias,
    }


def write(
    layout: Layout,
    block_mlp: Chain,
    arrays: Mapping[str, np.ndarray],
    prefix: str,
) -> dict[str, np.ndarray]:
    """Returns the tensors of all layers by key; the inverse of `read`.

    Args:
        layout: keys of the result.
        block_mlp: keys of a layer's MLP.
        arrays: the arrays of an InteractionStack by their path in it.
        prefix: beginning of the layers' keys, up to their index.
    """
    result: dict[str, np.ndarray] = {}
    for path, array in arrays.items():
        name, _, rest = path.partition("/")
        if rest.startswith("fmb/mlp/"):
            continue
        start = prefix + name.removeprefix("layer_")
        result[f"{start}.{layout.arrays[rest]}"] = _turned(layout, rest, array)
    for index in range(len({path.partition("/")[0] for path in arrays})):
        layers = dense_layers(arrays, f"layer_{index}/fmb/mlp/")
        result |= mlps.write(block_mlp, f"{prefix}{index}.", layers)
    return result


def dense_layers(
    arrays: Mapping[str, np.ndarray], prefix: str
) -> list[mlps.Dense]:
    """Returns the dense layers of one of our MLPs, whose paths have a prefix.

    Args:
        arrays: arrays by path.
        prefix: beginning of the MLP's paths.
    """
    layers: list[mlps.Dense] = []
    while f"{prefix}dense_{len(layers)}/kernel" in arrays:
        start = f"{prefix}dense_{len(layers)}/"
        layers.append((arrays[f"{start}kernel"], arrays[f"{start}bias"]))
    return layers


def named(layers: Iterable[mlps.Dense], prefix: str) -> dict[str, np.ndarray]:
    """Returns dense layers by their paths; the inverse of `dense_layers`."""
    result = {}
    for index, (kernel, bias) in enumerate(layers):
        result[f"{prefix}dense_{index}/kernel"] = kernel
        result[f"{prefix}dense_{index}/bias"] = bias
    return result


def _read_layer(state, layout, prefix, inference_only):
    """Takes the layer whose keys begin with `prefix` out of a state dict."""
    keys = {name: prefix + key for name, key in layout.arrays.items()}
    rows, num_lcb = _turned_shape(state, layout, keys, "lcb/kernel")
    rank = None
    if keys["fmb/projection"] in state or not layout.full:
        rank = state.shape(keys["fmb/projection"], 2)[1]
    (width,) = state.shape(keys["norm/gamma"], 1)
    flat = rows * (rank or rows)
    layers = mlps.read(state, layout.block_mlp, prefix, flat, inference_only)
    outputs = layers[-1][0].shape[1]
    if outputs % width:
        raise InteropError(
            f"{state.where}: the MLP of {prefix}fmb must give whole embeddings "
            f"of width {width}; its output has {outputs} numbers."
        )
    units = tuple(kernel.shape[1] for kernel, _ in layers[:-1])
    size = Sizes(rows, width, outputs // width, num_lcb, rank, units)
    arrays = named(layers, "fmb/mlp/")
    for name, shape in size.shapes().items():
        if name in keys:
            if name in layout.transposed:
                shape = shape[::-1]
            array = state.take(keys[name], shape)
            arrays[name] = _turned(layout, name, array)
    return size, arrays


def _check_fits(where, start, before, size):
    """Raises InteropError unless a layer fits the one before it."""
    rows, width = before.num_fmb + before.num_lcb, before.width
    if (size.rows, size.width) != (rows, width):
        raise InteropError(
            f"{where}: {start}* must take {rows} embeddings of width {width}, "
            f"which the layer before gives; its shapes are of {size.rows} of "
            f"width {size.width}."
        )
    if (size.rank is None) != (before.rank is None):
        raise InteropError(
            f"{where}: all layers must have a projection or none; {start}* "
            "differs from the layer before."
        )


def _turned_shape(state, layout, keys, name):
    shape = state.shape(keys[name], 2)
    return shape[::-1] if name in layout.transposed else shape


def _turned(layout, name, array):
    return array.T if name in layout.transposed else array


def _once(values):
    """Returns one value if all are equal, else a tuple of them."""
    values = tuple(values)
    return values[0] if len(set(values)) == 1 else values
