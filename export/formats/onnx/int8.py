"""Matrix products of int8 in an ONNX graph, by ranges that were measured."""

import os
import tempfile
from collections.abc import Iterable, Mapping

import numpy as np


def quantize(proto, rows: Iterable[Mapping[str, np.ndarray]]):
    """Returns a model whose products with constant weights are of int8.

    Weights have a scale for each column. Activations have one each, by the
    smallest and largest value that came up in `rows`; what lies beyond
    saturates. So the score of a row is a function of that row, whatever else
    is in the batch.

    Args:
        proto: an onnx.ModelProto.
        rows: batches of its inputs.
    """
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self._batches = iter(rows)

        def get_next(self):
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "float32.onnx")
        made = os.path.join(folder, "int8.onnx")
        onnx.save_model(proto, path)
        quantization.quantize_static(
            path,
            made,
            Reader(),
            quant_format=quantization.QuantFormat.QOperator,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            # Products of 8 by 8 bits overflow on processors without VNNI.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(made)
