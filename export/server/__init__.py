"""Server of published versions, compatible with TensorFlow Serving's REST."""
