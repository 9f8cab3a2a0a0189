"""From raw columns to a model's inputs, the same in training and serving."""

from wukong_tf.features.transforms import encode, encode_served, signature

__all__ = ["encode", "encode_served", "signature"]
