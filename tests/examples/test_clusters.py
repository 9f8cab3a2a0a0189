"""The files for SLURM and Kubernetes name flags and variables that exist."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from absl import flags

from trainer import settings as trainer_settings
from trainer.distribution.cluster import find_cluster

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SLURM = EXAMPLES / "slurm" / "train.sbatch"
KUBERNETES = EXAMPLES / "kubernetes" / "train.yaml"


@pytest.mark.parametrize("path", [SLURM, KUBERNETES])
def test_flags_of_the_trainer_exist(path):
    values = flags.FLAGS
    if "run_dir" not in values:
        trainer_settings.define(flags.FLAGS)
    command = path.read_text().partition("-m trainer.main")[2]
    names = re.findall(r"--(\w+)=", command.split('"$@"')[0])
    assert {"data_dir", "run_dir", "data_lanes"} <= set(names)
    for name in names:
        assert name in values, name


def test_the_slurm_script_is_bash():
    subprocess.run(["bash", "-n", str(SLURM)], check=True)


def test_kubernetes_makes_a_tf_config_that_the_trainer_reads():
    text = KUBERNETES.read_text()
    script = re.search(r"- -c\n +- \|\n(.*?)\n +resources:", text, re.S)
    script = script.group(1).partition("exec python")[0]
    done = subprocess.run(
        ["bash", "-c", script + '\nprintf %s "$TF_CONFIG"'],
        env={"WORKERS": "4", "JOB_COMPLETION_INDEX": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["task"]["index"] == 2
    cluster = find_cluster({"TF_CONFIG": done.stdout})
    assert cluster.index == 2 and len(cluster.addresses) == 4
    assert cluster.addresses[3] == "wukong-3.wukong:12345"
