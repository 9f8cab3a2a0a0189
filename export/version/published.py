"""Published versions as described by their own files."""

import dataclasses
import json
import math
import os
from typing import Any

from export.client.encode import Column, columns_of
from export.served import naming
from wukong_tf import files
from wukong_tf.errors import ExportError
from wukong_tf.names import OUTPUTS

MANIFEST = "manifest.json"
FORMAT = 2  # of the manifest
FEATURES = "features.json"
CARD = "README.md"
EXAMPLE_ROWS = os.path.join("examples", "predict_rows.json")
EXAMPLE_COLUMNS = os.path.join("examples", "predict_columns.json")

# Required entries of the manifest.
_NEEDED = (
    *("model_name", "formats", "features", "signatures", "optional_inputs"),
    *("context_features", "outputs", "batch_sizes", "files"),
)

# Name to (dtype name, shape with None for the batch).
Specs = dict[str, tuple[str, tuple]]


@dataclasses.dataclass(frozen=True)
class SignatureSpec:
    """Inputs and outputs of a signature.

    Args:
        inputs: name to (dtype, shape).
        outputs: the same for outputs.
        optional: optional input to the value that replaces it.
        context: inputs that have a single row. Defaults to (), none.
        method: method name in TensorFlow Serving. Defaults to that of
            Predict.
        columns: the inputs with the rules of their values. Defaults to {}.
    """

    inputs: Specs
    outputs: Specs
    optional: dict[str, Any]
    context: tuple[str, ...] = ()
    method: str = "tensorflow/serving/predict"
    columns: dict[str, Column] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Published:
    """A published version.

    Args:
        path: directory of the version.
        version: number of the version, that of the directory.
        manifest: contents of manifest.json.
    """

    path: str
    version: int
    manifest: dict[str, Any]

    @property
    def formats(self) -> list[str]:
        """Names of the version's formats."""
        return self.manifest["formats"]

    @property
    def tasks(self) -> dict[str, dict[str, str]]:
        """Names of each task's outputs, "probability" and "logit"."""
        return self.manifest["outputs"]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of a file of scores."""
        return [
            outputs[kind] for outputs in self.tasks.values() for kind in OUTPUTS
        ]

    @property
    def has_raw(self) -> bool:
        """Whether requests hold raw values that must be encoded as ids."""
        features = self.manifest["features"]["columns"]
        return any(f.get("raw") for f in features["categorical"])

    def renumbered(self) -> str | None:
        """Returns a message if its number differs from its manifest's."""
        original = int(self.manifest["version"])
        if self.version == original:
            return None
        return (
            f"{self.path}: a copy of version {original}, by its {MANIFEST}; "
            f"served as version {self.version}."
        )

    def verify(self):
        """Compares its files with the sizes and digests in its manifest.

        Raises:
            ExportError: if a file is missing or has changed; the message
                names it.
        """
        for name, recorded in self.manifest["files"].items():
            path = os.path.join(self.path, name)
            try:
                if os.path.getsize(path) != recorded["bytes"]:
                    changed = "size"
                elif files.sha256(path) != recorded["sha256"]:
                    changed = "SHA-256"
                else:
                    continue
            except OSError as error:
                raise ExportError(f"{path} cannot be read: {error}.") from error
            raise ExportError(
                f"{path} has changed since it was published: its {changed} "
                f"differs from that in {MANIFEST}. Copy the version again."
            )

    def signatures(self) -> dict[str, SignatureSpec]:
        """Returns the signatures by name."""
        optional = {
            name: math.nan if value is None else value
            for name, value in self.manifest["optional_inputs"].items()
        }
        features = columns_of(self.manifest["features"]["columns"])
        context = tuple(self.manifest["context_features"])
        signatures = {}
        for name, content in self.manifest["signatures"].items():
            inputs = _specs(content["inputs"])
            has_columns = name in naming.COLUMN_ENCODINGS
            signatures[name] = SignatureSpec(
                inputs,
                _specs(content["outputs"]),
                optional if has_columns else {},
                context if name == naming.CANDIDATES else (),
                naming.method(name),
                {
                    column: features[column]
                    if has_columns
                    else Column(column, "bytes")
                    for column in inputs
                },
            )
        return signatures

    def example(self, name: str) -> dict[str, Any] | None:
        """Returns the JSON of an example request, or None if missing."""
        try:
            with open(os.path.join(self.path, name), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None


def read(path: str) -> Published:
    """Reads the version in a directory.

    Its number is the directory's name, as in TensorFlow Serving, so a version
    may be copied to a higher number. The manifest's number is used only if
    the directory's name is not a version number.

    Raises:
        ExportError: if it is not a version; the message says what is missing.
    """
    file = os.path.join(path, MANIFEST)
    try:
        with open(file, encoding="utf-8") as opened:
            manifest = json.load(opened)
        version = int(manifest["version"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ExportError(
            f"{path} is not a published version: {file}: {error}."
        ) from error
    if manifest.get("format") != FORMAT:
        raise ExportError(
            f"{file}: the format must be {FORMAT}; received "
            f"{manifest.get('format')!r}. Export the run again."
        )
    if absent := [key for key in _NEEDED if key not in manifest]:
        raise ExportError(
            f"{file}: the keys {absent} are missing. Copy the version again."
        )
    number = version_number(os.path.basename(os.path.abspath(path)))
    return Published(path, version if number is None else number, manifest)


def version_number(name: str) -> int | None:
    """Returns the version number that a directory's name represents, or None.

    It must be written as by `str`, and fit into int64.
    """
    if not (name.isascii() and name.isdigit() and len(name) < 20):
        return None
    number = int(name)
    return number if str(number) == name and number < 2**63 else None


def versions(base: str) -> list[int]:
    """Returns the numbers of the versions in a directory, lowest first."""
    try:
        names = os.listdir(base)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        number
        for name in names
        if (number := version_number(name)) is not None
        and os.path.isfile(os.path.join(base, name, MANIFEST))
    )


def version_paths(base: str) -> dict[int, str]:
    """Returns version to directory, highest first.

    Args:
        base: directory of versions, or of a single version.
    """
    if os.path.isfile(os.path.join(base, MANIFEST)):
        return {read(base).version: base}
    return {
        version: os.path.join(base, str(version))
        for version in reversed(versions(base))
    }


def _specs(content) -> Specs:
    return {
        name: (spec["dtype"], tuple(spec["shape"]))
        for name, spec in content.items()
    }
