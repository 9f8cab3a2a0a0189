"""The flags of an export, and what their values must be."""

import os

from absl import flags as absl_flags

from wukong_tf import extras
from wukong_tf.errors import ConfigError, RunError

_ONNX = ("onnx", "onnxruntime", "tf2onnx")
# What each needs besides TensorFlow; the SavedModel for its warm-up requests.
_PACKAGES = {
    "saved_model": ("tensorflow_serving",),
    "onnx": _ONNX,
    "onnx_dense": _ONNX,
}
FORMATS = tuple(_PACKAGES)
DEFAULT_FORMATS = ("saved_model", "onnx")


def define(values: absl_flags.FlagValues):
    """Defines the flags; call it once, before they are parsed."""
    absl_flags.DEFINE_string(
        "run_dir",
        None,
        "Run directory of a trained model. Needed.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "output",
        None,
        "Directory that holds the versions, such as TensorFlow Serving's "
        "model_base_path. Made if it is missing. Needed.",
        flag_values=values,
    )
    absl_flags.DEFINE_list(
        "format",
        list(DEFAULT_FORMATS),
        "What to write, comma-separated: saved_model, onnx (ids in), "
        "onnx_dense (embeddings in, for tables that stay elsewhere).",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "checkpoint",
        "best",
        'Checkpoint to export: "best", "latest" or a step.',
        flag_values=values,
    )
    absl_flags.DEFINE_list(
        "keep_units",
        [],
        "Units to keep of features that have several: one number for all of "
        "them, or FEATURE:NUMBER,... The columns of the others are not in "
        "what is published. Default: all units.",
        flag_values=values,
    )
    absl_flags.DEFINE_integer(
        "version",
        None,
        "Version to publish. Default: the time in seconds since 1970, or one "
        "above the highest version of --output where that is more. A version "
        "that exists is never overwritten.",
        lower_bound=1,
        upper_bound=2**63 - 1,
        flag_values=values,
    )
    _define_signature_flags(values)
    _define_size_flags(values)


def _define_signature_flags(values):
    absl_flags.DEFINE_list(
        "context_features",
        [],
        "Inputs that all candidates of a request share, such as the user's: "
        "adds the signature `candidates` to the SavedModel, which takes them "
        "once.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "model_name",
        None,
        "Name that servers know the model by, in warm-up requests and "
        "examples. Default: the last part of --output.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "triton",
        None,
        "Directory of a Triton model repository, into which the version's "
        "ONNX file is laid out too, as MODEL_NAME/VERSION.",
        flag_values=values,
    )
    absl_flags.DEFINE_list(
        "batch_sizes",
        ["1", "8", "32", "128", "512"],
        "Rows of warm-up requests, rising: the batch sizes that the server is "
        "allowed, or those that clients send.",
        flag_values=values,
    )
    absl_flags.DEFINE_integer(
        "opset",
        18,
        "Version of ONNX's operators. From 17 on a LayerNormalization is one "
        "operator.",
        lower_bound=13,
        upper_bound=18,
        flag_values=values,
    )


def _define_size_flags(values):
    absl_flags.DEFINE_enum(
        "tables",
        "float32",
        ["float32", "float16", "int8"],
        "How tables are kept; int8 has a scale for each row.",
        flag_values=values,
    )
    absl_flags.DEFINE_enum(
        "onnx_dense",
        "float32",
        ["float32", "int8"],
        "Matrix products of ONNX files: in float32, or of int8 weights.",
        flag_values=values,
    )
    absl_flags.DEFINE_list(
        "eval_data",
        [],
        "Parquet or TFRecord files, or globs, with labels, on which smaller "
        "tables and products are compared with the checkpoint. Default: the "
        "split that the run held out, where its files still are.",
        flag_values=values,
    )
    for name, default, what in (
        ("max_auc_change", 0.0002, "AUC"),
        ("max_ne_change", 0.001, "normalized entropy"),
        ("max_logit_change", 0.5, "any row's logit"),
    ):
        absl_flags.DEFINE_float(
            name,
            default,
            f"Largest change of {what} by smaller tables or products; over "
            "it nothing is published.",
            lower_bound=0.0,
            flag_values=values,
        )


def check(values):
    """Refuses flags that are missing or wrong."""
    for name in ("run_dir", "output"):
        if not getattr(values, name):
            raise ConfigError(f"--{name} is needed.")
    if not values.format:
        raise ConfigError("--format is empty; name at least one format.")
    for name in values.format:
        if name not in FORMATS:
            raise ConfigError(
                f"--format must hold some of {list(FORMATS)}; received "
                f"{name!r}."
            )
    batch_sizes(values)
    if values.onnx_dense != "float32" and values.format == ["saved_model"]:
        raise ConfigError(
            f"--onnx_dense={values.onnx_dense} needs an ONNX format beside "
            "--format=saved_model."
        )
    if values.triton and "onnx" not in values.format:
        raise ConfigError("--triton needs --format=onnx.")
    if not os.path.isdir(values.run_dir):
        raise RunError(f"--run_dir={values.run_dir} is no directory.")
    for name in values.format:
        extras.require(f"--format={name}", *_PACKAGES[name])


def batch_sizes(values) -> list[int]:
    """The sizes of --batch_sizes."""
    texts = values.batch_sizes
    sizes = [int(text) for text in texts if text.strip().isdecimal()]
    if not texts or len(sizes) < len(texts) or sizes != sorted({*sizes} - {0}):
        raise ConfigError(
            "--batch_sizes must be whole numbers above 0, rising; received "
            f"{','.join(texts)!r}."
        )
    return sizes


def smaller(values) -> bool:
    """Whether anything is kept in less than float32."""
    return values.tables != "float32" or values.onnx_dense != "float32"


def model_name(values) -> str:
    """The name that servers know the model by."""
    return values.model_name or os.path.basename(os.path.abspath(values.output))
