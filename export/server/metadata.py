"""Metadata of models in the formats of TensorFlow Serving and KServe V2."""

from typing import Any

from export.served.naming import PREDICT
from export.server import v2
from export.server.loading import Loaded

V2_SERVER = {
    "name": "wukong_tf",
    "version": "2",  # of the protocol
    "extensions": ["binary_tensor_data"],
}


def metadata(name: str, loaded: Loaded) -> dict[str, Any]:
    """Returns the signatures in TensorFlow Serving's format."""
    types = {
        "int64": "DT_INT64",
        "float32": "DT_FLOAT",
        "string": "DT_STRING",
    }

    def described(specs):
        return {
            tensor: {
                "dtype": types[dtype],
                "name": tensor,
                "tensor_shape": {
                    "dim": [
                        {"size": str(-1 if size is None else size), "name": ""}
                        for size in shape
                    ],
                    "unknown_rank": False,
                },
            }
            for tensor, (dtype, shape) in specs.items()
        }

    return {
        "model_spec": {
            "name": name,
            "signature_name": "",
            "version": str(loaded.published.version),
        },
        "metadata": {
            "signature_def": {
                "signature_def": {
                    signature: {
                        "inputs": described(spec.inputs),
                        "outputs": described(spec.outputs),
                        "method_name": spec.method,
                    }
                    for signature, spec in loaded.engine.signatures.items()
                }
            }
        },
    }


def v2_metadata(name: str, loaded: Loaded) -> dict[str, Any]:
    """Returns the signature serving_default in V2's format.

    Args:
        name: the model's name.
        loaded: its served version.
    """
    spec = loaded.engine.signatures[PREDICT]
    return {
        "name": name,
        "versions": [str(loaded.published.version)],
        "platform": f"wukong_{loaded.engine.name}",
        "inputs": _tensors(spec.inputs),
        "outputs": _tensors(spec.outputs),
    }


def _tensors(specs) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "datatype": v2.DATATYPES[dtype],
            "shape": v2.json_shape(shape),
        }
        for name, (dtype, shape) in specs.items()
    ]
