"""Parameters, operations and bytes of a model, before it is built."""

import dataclasses
from collections.abc import Callable
from typing import Any

from wukong_tf.config import schema
from wukong_tf.config.model_config import ModelConfig
from wukong_tf.scaling import parts
from wukong_tf.scaling.operations import Part
from wukong_tf.scaling.parts import Table

FLOAT_BYTES = 4
# Floats of optimizer state of a table's row, by its width.
TABLE_STATES: dict[str, Callable[[int], int]] = {
    "rowwise_adagrad": lambda width: 1,
    "adam": lambda width: 2 * width,
}
PF_DAY = 1e15 * 86_400  # floating-point operations

_MODELS: dict[str, Callable[[Any], list[Part]]] = {
    "wukong": parts.wukong,
    "logistic_regression": parts.logistic_regression,
    "fm": parts.fm,
    "mlp": parts.mlp_model,
    "dlrm": parts.dlrm,
    "dcn_v2": parts.dcn_v2,
    "rank_mixer": parts.rank_mixer,
}


@dataclasses.dataclass(frozen=True)
class Cost:
    """Parameters, operations and bytes of a model.

    Args:
        tables: every embedding table.
        parts: all other parts.
        batch_size: rows of a batch on one device.
        activation_bytes: bytes of a batch's activations that the backward pass
            reads, under the dtype policy. Lower than the peak, as it excludes
            gradients and temporary buffers of single operations.
        table_optimizer: the tables' optimizer, "rowwise_adagrad" or "adam".
            Defaults to "rowwise_adagrad".
        state_workers: workers over which the dense part's optimizer slots are
            sharded. Defaults to 1, each worker has all.
    """

    tables: tuple[Table, ...]
    parts: tuple[Part, ...]
    batch_size: int
    activation_bytes: int
    table_optimizer: str = "rowwise_adagrad"
    state_workers: int = 1

    @property
    def table_parameters(self) -> int:
        """Parameters in tables."""
        return sum(table.rows * table.width for table in self.tables)

    @property
    def dense_parameters(self) -> int:
        """Parameters outside tables."""
        return sum(part.parameters for part in self.parts)

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.table_parameters + self.dense_parameters

    @property
    def macs(self) -> int:
        """Multiply-adds of matrix products in the forward pass, per example."""
        return sum(part.macs for part in self.parts)

    @property
    def forward_flop(self) -> int:
        """FLOP of the forward pass per example: two per multiply-add."""
        return 2 * self.macs

    @property
    def training_flop(self) -> int:
        """FLOP of a training step per example: six per multiply-add.

        Two each in the forward pass and for the gradients of the input and of
        the weights. The first products over raw numbers need no input gradient,
        which is counted all the same.
        """
        return 6 * self.macs

    @property
    def elementwise_flop(self) -> int:
        """All other FLOP of the dense part's forward pass, per example."""
        return sum(part.elementwise for part in self.parts)

    @property
    def table_bytes(self) -> int:
        """Bytes of the tables, float32."""
        return FLOAT_BYTES * self.table_parameters

    @property
    def dense_bytes(self) -> int:
        """Bytes of the other parameters, float32."""
        return FLOAT_BYTES * self.dense_parameters

    @property
    def table_state_bytes(self) -> int:
        """Bytes of the tables' optimizer slots.

        They are one float32 per row for rowwise Adagrad, and two per parameter
        for Adam.
        """
        return sum(map(self.state_bytes, self.tables))

    def state_bytes(self, table: Table) -> int:
        """Returns the bytes of one table's optimizer slots."""
        floats = TABLE_STATES[self.table_optimizer](table.width)
        return FLOAT_BYTES * table.rows * floats

    @property
    def dense_state_bytes(self) -> int:
        """Bytes of Adam's slots: two float32 per parameter.

        If they are sharded, those of one worker, of equal shares.
        """
        return -(-2 * self.dense_bytes // self.state_workers)

    @property
    def bytes(self) -> int:
        """Bytes of parameters, optimizer slots and activations together."""
        return (
            self.table_bytes
            + self.dense_bytes
            + self.table_state_bytes
            + self.dense_state_bytes
            + self.activation_bytes
        )

    def pf_days(self, examples: int) -> float:
        """Returns the PF-days of training on `examples` examples.

        They are days of 10^15 operations per second, at `training_flop` per
        example.
        """
        return self.training_flop * examples / PF_DAY

    def to_dict(self) -> dict[str, Any]:
        """Returns the totals, and the parts by name."""
        totals = {
            name: getattr(self, name)
            for name in (
                "parameters",
                "table_parameters",
                "dense_parameters",
                "macs",
                "forward_flop",
                "training_flop",
                "elementwise_flop",
                "table_bytes",
                "dense_bytes",
                "table_state_bytes",
                "dense_state_bytes",
                "batch_size",
                "activation_bytes",
            )
        }
        named = {
            part.name: {
                "parameters": part.parameters,
                "macs": part.macs,
                "elementwise": part.elementwise,
            }
            for part in self.parts
        }
        return {**totals, "parts": named}


def cost(
    config: ModelConfig,
    *,
    batch_size: int = 1,
    dtype: str = "float32",
    remat: bool = False,
    table_optimizer: str = "rowwise_adagrad",
    state_workers: int = 1,
) -> Cost:
    """Returns the cost of the model of `config`; nothing is allocated.

    Args:
        config: any model's configuration.
        batch_size: rows of a batch on one device. Defaults to 1.
        dtype: dtype policy of the dense part: "float32" or "mixed_bfloat16",
            which halves the bytes of its activations, except norms and
            embeddings. Defaults to "float32".
        remat: whether interaction layers are recomputed in the backward pass:
            only their inputs and norms' outputs are stored, and the other
            activations of one layer at a time. Defaults to False.
        table_optimizer: "rowwise_adagrad" or "adam". Defaults to
            "rowwise_adagrad".
        state_workers: workers over which the dense part's optimizer slots are
            sharded. Defaults to 1.

    Raises:
        ConfigError: a size is impossible, such as a rank above the number
            of embeddings in its layer.

    Example:
        >>> spec = FeatureSpec((CategoricalFeature("ad", 1000),))
        >>> cost(WukongConfig(spec, rank=1)).table_parameters
        16000
    """
    schema.check_int("cost", "batch_size", batch_size, 1)
    schema.check_int("cost", "state_workers", state_workers, 1)
    schema.check_choice("cost", "dtype", dtype, ("float32", "mixed_bfloat16"))
    schema.check_choice(
        "cost", "table_optimizer", table_optimizer, [*TABLE_STATES]
    )
    schema.check_choice("cost", "model", config.model, sorted(_MODELS))
    model_parts = _MODELS[config.model](config)
    narrow = 2 if dtype == "mixed_bfloat16" else FLOAT_BYTES

    def size(part):
        wide = FLOAT_BYTES * part.float32
        return wide + narrow * (part.activations - part.float32)

    sizes = [(part.name, size(part)) for part in model_parts]
    if remat:
        sizes = _recomputed(sizes)
    return Cost(
        tuple(parts.tables(config)),
        tuple(model_parts),
        batch_size,
        batch_size * sum(number for _, number in sizes),
        table_optimizer,
        state_workers,
    )


def _recomputed(sizes):
    """Returns activations if only one layer's are stored at a time."""
    layers: dict[str, int] = {}
    stored = []
    for name, number in sizes:
        if name.startswith("layer "):
            layer = " ".join(name.split()[:2])
            if name.endswith("norm"):  # the next layer's input
                stored.append((name, number))
            else:
                layers[layer] = layers.get(layer, 0) + number
        else:
            stored.append((name, number))
    return [*stored, ("largest layer", max(layers.values(), default=0))]
