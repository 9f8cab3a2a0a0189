"""Formats that versions are written in and loaded from: SavedModel, ONNX."""
