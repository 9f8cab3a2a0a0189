"""ONNX files of the served functions."""
