"""Costs of single operations, in closed form."""

import dataclasses

# Passes over its input that a LayerNorm makes: mean, difference, square,
# mean, product with the inverse deviation, scale, shift.
_NORM_PASSES = 7


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a model.

    Args:
        name: part name.
        parameters: number of parameters.
        macs: matrix products' multiply-adds per example, in the forward pass.
        elementwise: other floating-point operations, likewise.
        activations: numbers per example that the backward pass reads: outputs
            of lookups, products, norms and sums.
        float32: of those activations, how many are float32 under every
            dtype policy.
    """

    name: str
    parameters: int = 0
    macs: int = 0
    elementwise: int = 0
    activations: int = 0
    float32: int = 0

    def __add__(self, other: "Part") -> "Part":
        """Returns the sum of both, under the first one's name."""
        return Part(
            self.name,
            self.parameters + other.parameters,
            self.macs + other.macs,
            self.elementwise + other.elementwise,
            self.activations + other.activations,
            self.float32 + other.float32,
        )


def dense(inputs: int, outputs: int, name="", bias=True) -> Part:
    """Returns a matrix product and, with `bias`, its bias."""
    shift = outputs if bias else 0
    macs = inputs * outputs
    return Part(name, macs + shift, macs, shift, outputs)


def mlp(inputs: int, units, name="", *, bias=True, glu=False) -> Part:
    """Returns dense layers with an activation after all but the last.

    With `glu`, a hidden layer has a second product and multiplies both.
    """
    total = Part(name)
    for index, size in enumerate(units):
        hidden = index < len(units) - 1
        total += repeat(1 + (hidden and glu), dense(inputs, size, bias=bias))
        if hidden:
            total += Part("", elementwise=size)
        if hidden and glu:
            total += Part("", elementwise=size, activations=size)
        inputs = size
    return total


def norm(size: int, groups: int, name="") -> Part:
    """Returns a LayerNorm over `size` numbers, for each of `groups`."""
    count = size * groups
    return Part(
        name,
        2 * size,
        0,
        _NORM_PASSES * count,
        activations=count,
        float32=count,
    )


def float32(part: Part) -> Part:
    """Returns the part as float32 under every dtype policy."""
    return dataclasses.replace(part, float32=part.activations)


def repeat(count: int, part: Part) -> Part:
    """Returns `count` such parts."""
    values = {
        field.name: count * getattr(part, field.name)
        for field in dataclasses.fields(part)
        if field.name != "name"
    }
    return dataclasses.replace(part, **values)
