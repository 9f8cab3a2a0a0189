"""Former location of `wukong_tf.config.feature_spec`, kept as an alias."""

from wukong_tf.config.feature_spec import FeatureSpec

__all__ = ["FeatureSpec"]
