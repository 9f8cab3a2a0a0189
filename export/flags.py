"""The settings of an export and the rules of their values."""

import dataclasses
import functools
import os
import re
from typing import Literal

from trainer.settings import fields
from trainer.settings.fields import Settings, setting
from wukong_tf import extras
from wukong_tf.errors import ConfigError, RunError

_ONNX = ("onnx", "onnxruntime", "tf2onnx")
# Packages per format besides TensorFlow; the SavedModel's write its warm-up.
_PACKAGES = {
    "saved_model": ("tensorflow_serving",),
    "onnx": _ONNX,
    "onnx_dense": _ONNX,
}
FORMATS = tuple(_PACKAGES)
DEFAULT_FORMATS = ("saved_model", "onnx")
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_CHANGE = (
    "Largest change of {} by reduced precision; if it is exceeded, nothing is "
    "published."
)


@dataclasses.dataclass(frozen=True)
class Export(Settings):
    """Export of a run."""

    run_dir: str = setting(
        None, "Run directory of a trained model. Required.", needed=True
    )
    output: str = setting(
        None,
        "Directory of the versions, TensorFlow Serving's model_base_path. "
        "Created if missing. Required.",
        needed=True,
    )
    format: tuple[str, ...] = setting(
        DEFAULT_FORMATS,
        "Formats to write, comma-separated: saved_model, onnx (takes ids), "
        "onnx_dense (takes embeddings, for tables that are served elsewhere).",
    )
    checkpoint: str = setting(
        "best", 'Checkpoint to export: "best", "latest" or a step.'
    )
    keep_units: tuple[str, ...] = setting(
        (),
        "Embedding units to keep of features that have several: one number for "
        "all of them, or FEATURE:NUMBER,... The columns of the others are not "
        "published. Default: all units.",
    )
    version: int | None = setting(
        None,
        "Number of the version. Default: the Unix time in seconds, or one "
        "above the highest version in --output if that is higher. Existing "
        "versions are never overwritten.",
        minimum=1,
        maximum=2**63 - 1,
    )
    context_features: tuple[str, ...] = setting(
        (),
        "Inputs that all candidates of a request share, such as the user's. "
        "Adds the signature `candidates` to the SavedModel, which takes a "
        "single row of them.",
    )
    model_name: str = setting(
        None,
        "Name of the model on servers, in warm-up requests and examples. "
        "Default: the last part of --output.",
    )
    license: str | None = setting(
        None,
        "Identifier of the model's license in the head of its card, such as "
        "apache-2.0 or other. Default: the card names none.",
    )
    triton: str | None = setting(
        None,
        "Directory of a Triton model repository to copy the version's ONNX "
        "file into, as MODEL_NAME/VERSION. Default: none.",
    )
    batch_sizes: tuple[str, ...] = setting(
        ("1", "8", "32", "128", "512"),
        "Batch sizes of warm-up requests, ascending: the server's allowed "
        "batch sizes, or those that clients send.",
    )
    opset: int = setting(
        18,
        "ONNX operator set version. LayerNormalization is a single operator "
        "from 17 on.",
        minimum=13,
        maximum=18,
    )
    tables: Literal["float32", "float16", "int8"] = setting(
        "float32", "Precision of embedding tables; int8 has a scale per row."
    )
    onnx_dense: Literal["float32", "int8"] = setting(
        "float32",
        "Precision of matrix products in ONNX files; int8 has int8 weights.",
    )
    map_tables: Literal["auto", "always", "never"] = setting(
        "auto",
        "Whether tables are files in --output, mapped into memory as they are "
        "read, so that they may be larger than it. The SavedModel is then not "
        "run through TensorFlow's C API. auto: if they take more than half of "
        "the memory that is available.",
    )
    eval_data: tuple[str, ...] = setting(
        (),
        "Parquet or TFRecord files with labels, or globs, on which reduced "
        "precision is compared with the checkpoint. Default: the run's "
        "held-out split, if its files still exist.",
    )
    max_auc_change: float = setting(0.0002, _CHANGE.format("AUC"), minimum=0.0)
    max_ne_change: float = setting(
        0.001, _CHANGE.format("normalized entropy"), minimum=0.0
    )
    max_logit_change: float = setting(
        0.5, _CHANGE.format("any row's logit"), minimum=0.0
    )

    def __post_init__(self):
        super().__post_init__()
        if self.model_name is None:
            name = os.path.basename(os.path.abspath(self.output))
            object.__setattr__(self, "model_name", name)
        self._check_formats()
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise ConfigError(
                "--license must be an identifier of letters, digits, '.', '-' "
                f"and '+', such as apache-2.0; received {self.license!r}."
            )
        self.warm_up_sizes  # noqa: B018  raises early if invalid
        if not os.path.isdir(self.run_dir):
            raise RunError(f"--run_dir={self.run_dir} is not a directory.")

    def check_packages(self) -> None:
        """Raises ConfigError if a format's package cannot be imported.

        Loads them, and TensorFlow, which they need.
        """
        for name in self.format:
            extras.require(f"--format={name}", *_PACKAGES[name])

    def _check_formats(self):
        if not self.format:
            raise ConfigError("--format must name at least one format.")
        for name in self.format:
            if name not in FORMATS:
                raise ConfigError(
                    f"--format must be some of {list(FORMATS)}; received "
                    f"{name!r}."
                )
        if self.onnx_dense != "float32" and self.format == ("saved_model",):
            raise ConfigError(
                f"--onnx_dense={self.onnx_dense} needs an ONNX format in "
                "addition to --format=saved_model."
            )
        if self.triton and "onnx" not in self.format:
            raise ConfigError("--triton needs --format=onnx.")

    @property
    def warm_up_sizes(self) -> list[int]:
        """Batch sizes of the warm-up requests."""
        texts = self.batch_sizes
        sizes = [int(text) for text in texts if text.strip().isdecimal()]
        ascending = sizes == sorted({*sizes} - {0})
        if not texts or len(sizes) < len(texts) or not ascending:
            raise ConfigError(
                "--batch_sizes must be ascending integers above 0; received "
                f"{','.join(texts)!r}."
            )
        return sizes

    @property
    def is_smaller(self) -> bool:
        """Whether tables or products have less than float32 precision."""
        return self.tables != "float32" or self.onnx_dense != "float32"


define = functools.partial(fields.define, Export)
