"""A run that is exported, its columns and its requests."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.worlds import small_models, small_runs
from tests.worlds.logs import as_table
from trainer.checkpoints import store
from wukong_tf import runs
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    VectorFeature,
)
from wukong_tf.models import build_model

ROWS = 40
SPEC = FeatureSpec(
    categorical=(
        CategoricalFeature("user", 11, oov_id=2, vocabulary=tuple("abcdefgh")),
        CategoricalFeature("item", 20, table="things"),
        CategoricalFeature("other", 20, table="things"),
        CategoricalFeature("site", 7, embedding_dim=6, oov_id=0),
    ),
    numeric=(
        NumericFeature("price", "log1p", mean=1.0, stddev=2.0),
        NumericFeature("age", mean=30.0, stddev=10.0),
    ),
    vector=(VectorFeature("content", 3),),
)
CONFIG = small_models.wukong(
    SPEC, embedding_dim=4, rank=2, mlp_units=(8,), head_units=(6,), dropout=0.1
)
LOGISTIC = LogisticRegressionConfig(SPEC)


def random_model(config=CONFIG, dtype="float32", seed=7):
    """Returns a model with random weights, few near zero."""
    model = build_model(config, dtype=dtype)
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.normal(0.1, 0.5, weight.shape))
    return model


def columns(spec=SPEC, rows=ROWS, seed=3):
    """Returns valid raw columns in the format of the trainer's readers."""
    random = np.random.default_rng(seed)
    result = {
        f.name: random.integers(0, f.num_ids, rows, np.int32)
        for f in spec.categorical
    }
    for numeric in spec.numeric:
        result[numeric.name] = random.normal(5, 20, rows).astype(np.float32)
    for vector in spec.vector:
        shape = (rows, vector.size)
        result[vector.name] = random.normal(size=shape).astype(np.float32)
    for task in spec.tasks:
        result[task.label] = random.integers(0, 2, rows).astype(np.float32)
    return result


def request(raw, spec=SPEC):
    """Returns raw columns in the format of a request."""
    ids = [f.name for f in spec.categorical]
    return {
        name: raw[name].astype(np.int64) if name in ids else raw[name]
        for name in spec.feature_names
    }


def samples(spec=SPEC, rows=ROWS, seed=3) -> pa.Table:
    """Returns `columns` in the format of samples.parquet."""
    return as_table(columns(spec, rows, seed))


def write_samples(run_dir, raw):
    pq.write_table(as_table(raw), Path(run_dir, runs.SAMPLES))


def make_run(run_dir, config=CONFIG, precision="float32"):
    """Writes a run directory with checkpoints of steps 10 (best) and 20."""
    dtype = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    models = {step: random_model(config, dtype, step) for step in (10, 20)}
    small_runs.write_run(Path(run_dir), config, models, precision=precision)
    write_samples(run_dir, columns(config.features))
    store.mark_best(run_dir, 10, "logloss", 0.5)
    return str(run_dir)
