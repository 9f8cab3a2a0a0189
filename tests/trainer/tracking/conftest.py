"""Stores of the services, for tests."""

import pytest

from tests.trainer.tracking.services import SECRET
from trainer.tracking import process


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """The folder of MLflow's store; Weights & Biases is offline."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setattr(process, "STOPPED_S", 300.0)
    monkeypatch.setattr(process, "FINISHED_S", 300.0)
    return tmp_path / "store"
