"""Static int8 quantization of the matrix products of an ONNX graph."""

import os
import tempfile
from collections.abc import Iterable, Mapping

import numpy as np


def quantize(proto, rows: Iterable[Mapping[str, np.ndarray]]):
    """Returns a model whose products with constant weights are in int8.

    Weights are quantized per column, activations per tensor, by the smallest
    and largest value observed on `rows`; values outside this range saturate.
    So the scores of a row do not depend on the other rows of the batch.

    Args:
        proto: an onnx.ModelProto.
        rows: batches of the model's inputs, for calibration.
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
        quantized = os.path.join(folder, "int8.onnx")
        onnx.save_model(proto, path)
        quantization.quantize_static(
            path,
            quantized,
            Reader(),
            quant_format=quantization.QuantFormat.QOperator,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            # 8-bit by 8-bit products overflow on processors without VNNI.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(quantized)
