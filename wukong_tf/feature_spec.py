"""Where `wukong_tf.config.feature_spec` was."""

from wukong_tf.config.feature_spec import FeatureSpec

__all__ = ["FeatureSpec"]
