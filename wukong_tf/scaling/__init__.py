"""The paper's presets, and the cost of a model of any size."""

from wukong_tf.scaling.cost import Cost, cost
from wukong_tf.scaling.operations import Part
from wukong_tf.scaling.presets import Preset, preset, presets

__all__ = ["Cost", "Part", "Preset", "cost", "preset", "presets"]
