"""How a version is written and read back: SavedModel and ONNX."""
