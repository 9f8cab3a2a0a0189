"""Wukong's blocks as Keras layers, for any Keras backend."""

from wukong_tf.layers.attentive_projection import AttentiveProjection
from wukong_tf.layers.factorization_machine import FactorizationMachineBlock
from wukong_tf.layers.interaction_stack import InteractionStack
from wukong_tf.layers.linear_compress import LinearCompressBlock
from wukong_tf.layers.mlp import MLP
from wukong_tf.layers.wukong_layer import WukongLayer

__all__ = [
    "MLP",
    "AttentiveProjection",
    "FactorizationMachineBlock",
    "InteractionStack",
    "LinearCompressBlock",
    "WukongLayer",
]
