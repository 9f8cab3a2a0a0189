"""The baselines against float64 NumPy, and their contract."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests import backends
from tests.errors import assert_refused
from tests.oracles import baselines as oracles
from tests.worlds import small_models
from tests.worlds.small_models import RICH, SPEC
from wukong_tf.config import (
    CategoricalFeature,
    DCNv2Config,
    DLRMConfig,
    FactorizationMachineConfig,
    FeatureSpec,
    MLPConfig,
    RankMixerConfig,
    Task,
)
from wukong_tf.models import build_model
from wukong_tf.runs.arrays import model_slots, read_arrays

ROOT = Path(__file__).resolve().parents[2]
TWO = dataclasses.replace(
    RICH, tasks=(Task("click", "a"), Task("buy", "b", missing_labels=True))
)
SIZES: dict[str, Any] = {"embedding_dim": 6, "bottom_mlp_units": (5,)}
HEAD: dict[str, Any] = {"head_units": (7, 5)}
CONFIGS = {
    "fm": FactorizationMachineConfig(SPEC, **SIZES),
    "fm_rich": FactorizationMachineConfig(RICH, 6, numeric_embeddings=2),
    "fm_tasks": FactorizationMachineConfig(TWO, **SIZES),
    "mlp": MLPConfig(TWO, **SIZES, **HEAD),
    "dlrm": DLRMConfig(SPEC, **SIZES, **HEAD),
    "dlrm_rich": DLRMConfig(TWO, **SIZES, **HEAD, numeric_embeddings=2),
    "dcn_v2": DCNv2Config(SPEC, **SIZES, **HEAD),
    "dcn_v2_low_rank": DCNv2Config(
        TWO, **SIZES, **HEAD, num_cross_layers=2, projection_dim=4
    ),
    "dcn_v2_parallel": DCNv2Config(
        TWO, **SIZES, **HEAD, structure="parallel", projection_dim=4
    ),
    "rank_mixer": RankMixerConfig(
        TWO, **SIZES, **HEAD, num_tokens=4, token_dim=8, expansion=2
    ),
    "rank_mixer_one": RankMixerConfig(
        SPEC,
        **SIZES,
        num_tokens=1,
        token_dim=5,
        num_layers=1,
        norm_epsilon=0.5,
    ),
}
MODELS = pytest.mark.parametrize("name", CONFIGS)


def arrays(model):
    return small_models.float64(read_arrays(model_slots(model)))


@MODELS
def test_the_logits_equal_numpy(name):
    config = CONFIGS[name]
    model = small_models.make(config)
    inputs = small_models.inputs(20, spec=config.features)
    found = model(backends.tensors(inputs))
    expected = oracles.logits(config, inputs, arrays(model))
    assert list(found) == list(expected)
    for task, logit in expected.items():
        value = backends.numpy(found[task])
        assert value.dtype == np.float32
        scale = np.abs(logit).max()
        np.testing.assert_allclose(value / scale, logit / scale, atol=1e-5)


@MODELS
def test_call_is_score_of_embed(name):
    config = CONFIGS[name]
    model = small_models.make(config)
    inputs = backends.tensors(small_models.inputs(6, spec=config.features))
    x = model.embed(inputs)
    width = config.embedding_dim + (config.model == "fm")
    assert tuple(x.shape) == (6, config.num_embeddings, width)
    for task, logit in model.score(x).items():
        np.testing.assert_array_equal(
            backends.numpy(logit), backends.numpy(model(inputs)[task])
        )


@MODELS
def test_names_of_weights_stay(name):
    """Whatever was made before, or a checkpoint could not be read back."""
    names = [
        [slot.name for slot in model_slots(build_model(CONFIGS[name]))]
        for _ in range(2)
    ]
    assert names[0] == names[1]
    assert len(set(names[0])) == len(names[0])


@MODELS
def test_a_keras_file_keeps_every_bit(name, tmp_path):
    config = CONFIGS[name]
    model = small_models.make(config)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.config == config
    inputs = backends.tensors(small_models.inputs(9, spec=config.features))
    for task, logit in model(inputs).items():
        np.testing.assert_array_equal(
            backends.numpy(loaded(inputs)[task]), backends.numpy(logit)
        )


@pytest.mark.parametrize(
    "name", ["mlp", "dlrm_rich", "dcn_v2_parallel", "rank_mixer"]
)
def test_bfloat16_is_near_and_its_logits_are_float32(name):
    config = CONFIGS[name]
    narrow = small_models.make(config, dtype="mixed_bfloat16")
    wide = small_models.make(config)
    inputs = backends.tensors(small_models.inputs(9, spec=config.features))
    for task, logit in wide(inputs).items():
        found, logit = (
            backends.numpy(each) for each in (narrow(inputs)[task], logit)
        )
        assert found.dtype == np.float32
        error = np.abs(found - logit).max() / np.abs(logit).max()
        assert 0 < error < 0.05


@backends.tensorflow_only
def test_the_gradient_of_fm_is_of_no_slice_of_the_embeddings():
    """It took a third of a step on CPUs."""
    import tensorflow as tf

    config = CONFIGS["fm"]
    model = small_models.make(config)

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = model.score(x)
        return tape.gradient(logits, x)

    shape = (2, config.num_embeddings, config.row_width)
    graph = gradient.get_concrete_function(tf.TensorSpec(shape)).graph
    of_slices = [
        operation.inputs[-1].shape.rank
        for operation in graph.get_operations()
        if operation.type == "StridedSliceGrad"
    ]
    assert of_slices and 3 not in of_slices


def test_dropout_is_for_training_alone():
    config = dataclasses.replace(CONFIGS["mlp"], dropout=0.5)
    model = small_models.make(config)
    x = model.embed(
        backends.tensors(small_models.inputs(9, spec=config.features))
    )
    still = backends.numpy(model.score(x)["click"])
    np.testing.assert_array_equal(
        backends.numpy(model.score(x, training=False)["click"]), still
    )
    moved = backends.numpy(model.score(x, training=True)["click"])
    assert not np.allclose(moved, still)


def test_refuses_what_cannot_be():
    one = FeatureSpec((CategoricalFeature("ad", 5),))
    assert_refused(lambda: DLRMConfig(one), "at least 2 embeddings", "have 1")
    for value in (0, True, "3"):
        assert_refused(
            lambda v=value: DCNv2Config(SPEC, num_cross_layers=v),
            "`num_cross_layers`",
            repr(value),
        )
    width = DCNv2Config(SPEC, projection_dim=1).num_embeddings * 16
    for value in (0, width + 1):
        assert_refused(
            lambda v=value: DCNv2Config(SPEC, projection_dim=v),
            "`projection_dim`",
            f"received {value}",
        )
    assert_refused(lambda: DCNv2Config(SPEC, structure="crossed"), "'crossed'")
    assert_refused(
        lambda: DCNv2Config(SPEC, structure="parallel", head_units=()),
        "`head_units` must not be empty with structure='parallel'",
    )
    for name in ("num_layers", "num_tokens", "token_dim", "expansion"):
        assert_refused(
            lambda n=name: RankMixerConfig(SPEC, **{n: 0}), f"`{name}`", "0"
        )
    assert_refused(
        lambda: RankMixerConfig(SPEC, num_tokens=3), "multiple of num_tokens=3"
    )
    assert_refused(
        lambda: RankMixerConfig(SPEC, norm_epsilon=0), "`norm_epsilon`", "0"
    )
    assert_refused(lambda: MLPConfig(SPEC, head_units=8), "`head_units`")
    assert_refused(lambda: MLPConfig(SPEC, dropout=1.0), "`dropout`")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dcn_v2", "dlrm"])
def test_the_first_model_of_a_process_has_the_seeds_weights(model):
    """Importing keras_rs, which the first one does, draws no numbers."""
    code = f"""
import keras
from wukong_tf.config import MODEL_CONFIGS, CategoricalFeature, FeatureSpec
from wukong_tf.models import build_model

spec = FeatureSpec((CategoricalFeature("a", 5), CategoricalFeature("b", 5)))
weights = []
for _ in range(2):
    keras.utils.set_random_seed(1)
    built = build_model(MODEL_CONFIGS[{model!r}](spec, embedding_dim=4))
    weights.append(built.get_weights())
for one, other in zip(*weights, strict=True):
    assert (one == other).all()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
