"""The files for Docker and Kubernetes, as far as they run without either."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from export.version import serving_config
from tests.export import stand_in

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "serving"
FILES = ("docker-compose.yaml", "kubernetes.yaml")
# Of tensorflow_model_server, from its main.cc.
FLAGS = {
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "allow_version_labels_for_unavailable_models",
    "monitoring_config_file",
    "enable_batching",
    "batching_parameters_file",
}


@pytest.mark.parametrize("name", FILES)
def test_the_server_knows_the_flags(name):
    text = (EXAMPLES / name).read_text()
    found = set(re.findall(r"- --(\w+)=", text))
    assert {"model_config_file", "monitoring_config_file"} <= found <= FLAGS
    known = {
        f"/models/{each}"
        for each in (
            serving_config.MODELS,
            serving_config.BATCHING,
            serving_config.MONITORING,
        )
    }
    assert set(re.findall(r"=(/models/\S+)", text)) <= known


def test_metrics_are_where_the_monitoring_file_puts_them():
    text = (EXAMPLES / "kubernetes.yaml").read_text()
    (path,) = re.findall(r"prometheus.io/path: (\S+)", text)
    assert f'path: "{path}"' in serving_config._MONITORING


def test_the_probe_goes_by_the_state(published, tmp_path):
    text = (EXAMPLES / "kubernetes.yaml").read_text()
    script = re.search(r"- -c\n +- >-\n(.*?)\n +periodSeconds", text, re.S)
    script = " ".join(line.strip() for line in script[1].splitlines())
    with stand_in.running(published, "clicks", 7) as (address, _, faults):
        script = script.replace("8501", address.rpartition(":")[2])

        def probe():
            done = subprocess.run(["bash", "-c", script], timeout=30)
            return done.returncode

        assert probe() == 0
        faults.state = "LOADING"
        assert probe() == 1
    assert probe() == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
def test_the_smoke_script_sends_every_request(published, tmp_path):
    # Docker is stood in for by a script that names the stand-in's address.
    base = tmp_path / "model"
    shutil.copytree(published, base / "7")
    (base / "v8").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    with stand_in.running(published, "model", 7) as (address, _, faults):
        docker.write_text(
            f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
case "$1" in
  run) echo container ;;
  port) echo {address.removeprefix("http://")} ;;
esac
"""
        )
        docker.chmod(0o755)
        done = subprocess.run(
            ["sh", str(EXAMPLES / "smoke.sh"), str(base), "2.20.0"],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PATH": f"{docker.parent}:{os.environ['PATH']}"},
        )
    assert done.returncode == 0, done.stderr
    assert "model: version 7 responded" in done.stdout
    assert len(faults.seen) == 4
    calls = (tmp_path / "calls").read_text()
    assert f"{base}:/models/model:ro" in calls
    assert "tensorflow/serving:2.20.0" in calls
    assert calls.splitlines()[-1] == "stop container"
