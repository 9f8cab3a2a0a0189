"""Converts weights of public Wukongs in PyTorch to ours, and back.

Example:
    >>> config, arrays = interop.read(
    ...     "mlcc", "best_checkpoint.pth", features
    ... )  # doctest: +SKIP
    >>> model = interop.build(config, arrays)  # doctest: +SKIP
"""

from wukong_tf.interop.layouts import KINDS
from wukong_tf.interop.models import (
    arrays,
    build,
    read,
    read_stack,
    write,
)

__all__ = ["KINDS", "arrays", "build", "read", "read_stack", "write"]
