"""TensorFlow Serving's configuration files."""

import os
import re
import shutil
from collections.abc import Mapping

from export.version import publish, published
from wukong_tf import files
from wukong_tf.errors import ConfigError, ExportError

MODELS = "models.config"
BATCHING = "batching.config"
MONITORING = "monitoring.config"

_LABEL = re.compile("[a-zA-Z0-9_]+")
_MONITORING = """\
prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }
"""
# No package has a message with these fields; their names are from
# session_bundle_config.proto.
_BATCHING = """\
max_batch_size {{ value: {largest} }}
batch_timeout_micros {{ value: 1000 }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: 8 }}
{allowed}enable_large_batch_splitting {{ value: true }}
max_execution_batch_size {{ value: {largest} }}
"""


def write(
    output: str,
    config: str,
    labels: Mapping[str, int],
    base_path: str,
    name: str | None = None,
) -> str:
    """Writes models.config, batching.config and monitoring.config.

    Each is written atomically. Other models in models.config are kept.

    Args:
        output: directory of the versions.
        config: path of models.config; the other files go next to it.
        labels: label to version.
        base_path: path of `output` on the server.
        name: the model's name. Defaults to None, that of the first label's
            version.

    Returns:
        The model's name.

    Raises:
        ConfigError: if a label or the path breaks a rule.
        ExportError: if a version does not exist, or models.config cannot be
            read.
    """
    from google.protobuf import text_format

    if not base_path.startswith("/") and "://" not in base_path:
        raise ConfigError(
            f"--base_path must be absolute; received {base_path!r}."
        )
    manifests = [
        _servable(output, label, version) for label, version in labels.items()
    ]
    name = name or manifests[0]["model_name"]
    servers = read(config)
    _put_model(servers, config, name, base_path, labels)
    folder = os.path.dirname(os.path.abspath(config))
    sizes = {size for manifest in manifests for size in manifest["batch_sizes"]}
    _write(os.path.join(folder, BATCHING), batching(sorted(sizes)))
    _write(os.path.join(folder, MONITORING), _MONITORING)
    # Last, as a running server watches this file.
    _write(config, text_format.MessageToString(servers))
    return name


def _put_model(servers, config, name, base_path, labels):
    """Adds a model and its labels, replacing any model of the same name."""
    models = servers.model_config_list.config
    others = [model for model in models if model.name != name]
    for other in others:
        if other.base_path == base_path:
            raise ConfigError(
                f"{config}: the model {other.name!r} already has the base "
                f"path {base_path}; {name!r} needs a different one."
            )
    del models[:]
    models.extend(others)
    model = models.add(
        name=name, base_path=base_path, model_platform="tensorflow"
    )
    versions = sorted(set(labels.values()))
    model.model_version_policy.specific.versions.extend(versions)
    for label, version in labels.items():
        model.version_labels[label] = version


def _servable(output, label, version):
    """Returns a version's manifest; raises if a server cannot load it."""
    if not _LABEL.fullmatch(label):
        raise ConfigError(
            "labels must be letters, digits and underscores; received "
            f"{label!r}."
        )
    available = published.versions(output)
    if version not in available:
        raise ExportError(
            f"--{label}={version}: the version must be one of {output}; it has "
            f"{available}."
        )
    candidate = published.read(os.path.join(output, str(version)))
    if "saved_model" not in candidate.formats:
        raise ExportError(
            f"--{label}={version}: TensorFlow Serving needs a SavedModel; the "
            f"version has {candidate.formats}."
        )
    return candidate.manifest


def read(config: str):
    """Reads a file's ModelServerConfig; returns an empty one if missing.

    Raises:
        ExportError: if it cannot be parsed, or does not list models.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    servers = model_server_config_pb2.ModelServerConfig()
    try:
        with open(config, encoding="utf-8") as file:
            text_format.Parse(file.read(), servers)
    except FileNotFoundError:
        return servers
    except (OSError, text_format.ParseError) as error:
        raise ExportError(
            f"{config} cannot be read as a models.config: {error}."
        ) from error
    if servers.WhichOneof("config") == "custom_model_config":
        raise ExportError(
            f"{config}: must list models; it has a custom_model_config."
        )
    return servers


def batching(sizes: list[int]) -> str:
    """Returns batching.config, for requests of up to max(`sizes`) rows."""
    allowed = "".join(f"allowed_batch_sizes: {size}\n" for size in sizes)
    return _BATCHING.format(largest=sizes[-1], allowed=allowed)


def prune(output: str, config: str, keep: int) -> list[int]:
    """Removes all but the highest versions.

    Args:
        output: directory of the versions.
        config: path of a models.config; versions of this directory that it
            names are kept.
        keep: number of the highest versions to keep.

    Returns:
        The removed versions.

    Raises:
        ExportError: if another export is running there, or a version cannot
            be removed.
    """
    base = os.path.basename(os.path.abspath(output))
    named = {
        version
        for model in read(config).model_config_list.config
        if os.path.basename(model.base_path.rstrip("/")) == base
        for version in (
            *model.model_version_policy.specific.versions,
            *model.version_labels.values(),
        )
    }
    removed = []
    with publish.locked(output):
        publish.remove_unfinished(output)
        for version in publish.versions(output)[:-keep]:
            if version in named:
                continue
            path = os.path.join(output, str(version))
            hidden = os.path.join(output, f"{publish.REMOVED}{version}")
            try:
                # Servers must not see a partly removed version.
                os.rename(path, hidden)
                shutil.rmtree(hidden)
            except OSError as error:
                raise ExportError(
                    f"{path} cannot be removed: {error}."
                ) from error
            removed.append(version)
    return removed


def _write(path, text):
    try:
        files.write_text(path, text)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error}.") from error
