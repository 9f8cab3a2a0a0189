"""Metadata of signatures in the format of TensorFlow Serving's REST."""

from typing import Any

from export.server.loading import Loaded


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
