"""Which of our models another implementation has."""

import dataclasses

from wukong_tf.config import WukongConfig
from wukong_tf.errors import InteropError
from wukong_tf.interop.layouts import Chain, Layout

NORM_EPSILON = 1e-5  # of PyTorch's LayerNorm


def check(layout: Layout, config: WukongConfig, inference_only: bool) -> None:
    """Raises InteropError if the implementation has no model of `config`.

    Args:
        layout: the implementation.
        config: our configuration.
        inference_only: whether a batch normalization that changes nothing in
            inference may be added.
    """
    for field, allowed in _allowed(layout, config).items():
        value = getattr(config, field)
        if value not in allowed:
            raise InteropError(
                f"interop {layout.name}: `{field}` must be "
                f"{' or '.join(map(repr, allowed))}; received {value!r}."
            )
    sizes = {
        (num_fmb, num_lcb, None if config.fm == "full" else rank, units)
        for num_fmb, num_lcb, rank, units in config.layer_sizes
    }
    if layout.uniform and len(sizes) > 1:
        raise InteropError(
            f"interop {layout.name}: all layers must have the same sizes; "
            f"received {config.layer_sizes}."
        )
    for _, _, _, units in config.layer_sizes:
        _check_units(layout, "mlp_units", units, layout.most_hidden)
        _check_normalized(layout, layout.block_mlp, units, inference_only)
    _check_units(layout, "head_units", config.head_units, None)
    _check_normalized(layout, layout.head, config.head_units, inference_only)


def chains(layout: Layout, config: WukongConfig) -> tuple[Chain, Chain]:
    """Returns the keys of a layer's MLP and of the head.

    FuxiCTR's modules of an MLP have other indices if there is dropout.
    """
    if layout.name == "fuxictr" and config.dropout:
        return dataclasses.replace(layout.block_mlp, step=3), layout.head
    return layout.block_mlp, layout.head


def _allowed(layout, config):
    """Returns the values that fields may have."""
    allowed = {
        "fm": ("projected", "full") if layout.full else ("projected",),
        "fmb_activation": (layout.activation,),
        "remove": ((),),
        "mlp_activation": ("relu",),
        "mlp_bias": (True,),
        "mlp_glu": (False,),
        "norm_epsilon": (NORM_EPSILON,),
    }
    rows = config.num_embeddings
    changes = False
    for num_fmb, num_lcb, _, _ in config.layer_sizes:
        changes |= rows != num_fmb + num_lcb
        rows = num_fmb + num_lcb
    if changes:
        allowed["residual_bias"] = (layout.residual_bias,)
    if config.features.numeric:
        allowed["bottom_mlp_units"] = ((),)
        allowed["numeric_embeddings"] = (len(config.features.numeric),)
    return allowed


def _check_units(layout, field, units, most):
    least = layout.least_hidden
    if len(units) < least or (most is not None and len(units) > most):
        rule = f"at least {least}" if most is None else f"at most {most}"
        raise InteropError(
            f"interop {layout.name}: `{field}` must have {rule} hidden "
            f"layers; received {units}."
        )


def _check_normalized(layout, chain, units, inference_only):
    """Checks hidden layers that a batch normalization must follow."""
    if not chain.batch_norm or not units:
        return
    if not inference_only:
        raise InteropError(
            f"interop {layout.name}: hidden layers have a batch normalization "
            "there, which is not here; pass inference_only=True to write one "
            "that changes nothing in inference."
        )
    if len(set(units)) > 1:
        raise InteropError(
            f"interop {layout.name}: all hidden layers of an MLP must have the "
            f"same units; received {units}."
        )
