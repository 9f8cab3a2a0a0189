"""models.config and what lies beside it, as Serving's own messages."""

import os
import re
import shutil

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from export.version import serving_config
from tests.programs import call
from wukong_tf.errors import ConfigError, ExportError


@pytest.fixture
def base(published, tmp_path):
    """Versions 7 and 8 of a model; and 9, which is ONNX alone."""
    import json

    output = tmp_path / "exports" / "clicks"
    for version in (7, 8, 9):
        shutil.copytree(published, output / str(version))
        path = output / str(version) / "manifest.json"
        content = json.loads(path.read_text()) | {"version": version}
        if version == 9:
            content["formats"] = ["onnx"]
        path.write_text(json.dumps(content))
    return output


def parsed(path):
    config = model_server_config_pb2.ModelServerConfig()
    with open(path) as file:
        text_format.Parse(file.read(), config)
    return config.model_config_list.config


def write(base, labels, **options):
    config = str(base.parent / "models.config")
    options = {"base_path": "/models/clicks", **options}
    return config, serving_config.write(str(base), config, labels, **options)


def test_stable_and_canary(base):
    config, name = write(base, {"stable": 7, "canary": 8})
    assert name == "model"
    (model,) = parsed(config)
    assert model.name == "model" and model.base_path == "/models/clicks"
    assert model.model_platform == "tensorflow"
    assert list(model.model_version_policy.specific.versions) == [7, 8]
    assert dict(model.version_labels) == {"stable": 7, "canary": 8}
    # Promote, and then go back.
    write(base, {"stable": 8, "canary": 7})
    (model,) = parsed(config)
    assert dict(model.version_labels) == {"stable": 8, "canary": 7}
    write(base, {"stable": 7})
    (model,) = parsed(config)
    assert list(model.model_version_policy.specific.versions) == [7]
    assert not os.path.exists(f"{config}.unfinished")


def test_other_models_stay(base):
    config, _ = write(base, {"stable": 7}, name="one")
    write(base, {"stable": 8}, name="two", base_path="/models/two")
    write(base, {"stable": 8}, name="one")
    models = {model.name: model for model in parsed(config)}
    assert set(models) == {"one", "two"}
    assert models["one"].version_labels["stable"] == 8
    with pytest.raises(ConfigError, match="'two' already has the base path"):
        write(base, {"stable": 7}, name="three", base_path="/models/two")


def test_what_cannot_be_served_is_refused(base):
    config = base.parent / "models.config"
    for labels, match in (
        ({"stable": 6}, r"--stable=6: .* has \[7, 8, 9\]"),
        ({"stable": 7, "canary": 9}, "--canary=9: .*needs a SavedModel"),
    ):
        with pytest.raises(ExportError, match=match):
            write(base, labels)
    with pytest.raises(ConfigError, match="absolute"):
        write(base, {"stable": 7}, base_path="models/clicks")
    with pytest.raises(ConfigError, match="'a-b'"):
        write(base, {"a-b": 7})
    assert not config.exists()
    config.write_text("model_config_list { confg { } }")
    with pytest.raises(ExportError, match="confg"):
        write(base, {"stable": 7})
    assert "confg" in config.read_text()


# The fields of session_bundle_config.proto's BatchingParameters and of
# monitoring_config.proto, of which no package has the messages.
BATCHING = {
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "allowed_batch_sizes",
    "enable_large_batch_splitting",
    "max_execution_batch_size",
}
MONITORING = {"prometheus_config", "enable", "path"}


def test_batching_and_monitoring_have_known_fields(base):
    config, _ = write(base, {"stable": 7})
    texts = {}
    for name, known in (("batching", BATCHING), ("monitoring", MONITORING)):
        path = os.path.join(os.path.dirname(config), f"{name}.config")
        with open(path) as file:
            texts[name] = file.read()
        found = set(re.findall(r"\b([a-z_]+)\s*(?::|\{)", texts[name]))
        assert found - {"value"} == known
    sizes = re.findall(r"allowed_batch_sizes: (\d+)", texts["batching"])
    assert sizes == ["1", "8", "32", "128", "512"]


def test_only_what_nothing_names_is_pruned(base):
    config, _ = write(base, {"stable": 7, "canary": 8})
    for version in (10, 11):
        shutil.copytree(base / "9", base / str(version))
    (base / ".removed-3").mkdir()
    assert serving_config.prune(str(base), config, 2) == [9]
    assert sorted(os.listdir(base)) == ["10", "11", "7", "8"]
    assert serving_config.prune(str(base), config, 1) == [10]
    assert serving_config.prune(str(base), config, 1) == []


def test_the_command_line(base, capsys):
    from export import rollout

    def run(**given):
        given = {"output": base, **given}
        code = call(rollout, *(f"--{k}={v}" for k, v in given.items()))
        said = capsys.readouterr()
        return code, said.out + said.err

    code, said = run(stable=7, canary=8)
    assert code == 0 and "model stable=7, canary=8" in said
    (model,) = parsed(base.parent / "models.config")
    assert model.base_path == "/models/clicks"
    code, said = run(prune_to=1)
    assert code == 0 and said == ""
    code, said = run(stable=5)
    assert code == 2 and "--stable=5" in said
    code, said = run()
    assert code == 2 and "--stable or --prune_to" in said
    code, said = run(canary=8, prune_to=1)
    assert code == 2 and "--canary requires --stable" in said
