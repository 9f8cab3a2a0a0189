"""A server of published versions over TensorFlow Serving's REST paths."""
