"""Untrained models, published as versions, for benchmarks.serving."""

import contextlib
import os
import sys


def model_config(name: str, rows: int):
    """Returns the configuration of a model, mid_size with `rows` in tables."""
    from benchmarks import mid_size
    from wukong_tf.config import CategoricalFeature, FeatureSpec, WukongConfig

    if name == "mid_size":
        return mid_size.config(rows)
    # Frappe's features (Baltrunas et al., arXiv 1505.03014): numbers of ids.
    sizes = (957, 4085, 10, 10, 5, 6, 5, 12, 83, 236)
    spec = FeatureSpec(
        tuple(
            CategoricalFeature(f"feature_{number}", size)
            for number, size in enumerate(sizes)
        )
    )
    return WukongConfig(
        spec,
        embedding_dim=32,
        num_layers=2,
        num_fmb=16,
        num_lcb=16,
        rank=(10, 16),
        mlp_units=(128,),
        head_units=(128,),
    )


def draw_ids(spec, rows: int, seed: int):
    """Returns uniformly distributed ids of each feature, int64 [rows]."""
    import numpy as np

    numbers = np.random.default_rng(seed)
    return {
        feature.name: numbers.integers(0, feature.num_ids, rows)
        for feature in spec.categorical
    }


def make_run(folder: str, config):
    """Writes a run directory of a model without weights near 0."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from trainer.checkpoints import store
    from wukong_tf import files, runs
    from wukong_tf.models import build_model
    from wukong_tf.runs.arrays import model_slots, read_slots

    model = build_model(config)
    numbers = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:  # biases and norms, not 0 after training
            noise = numbers.normal(0, 0.1, weight.shape)
            weight.assign(np.asarray(weight) + noise)
    os.makedirs(folder)
    content = config.to_dict()
    features = content.pop("features")
    files.write_json(os.path.join(folder, runs.FEATURES), features)
    files.write_json(
        os.path.join(folder, runs.CONFIG),
        {
            "format": runs.FORMAT,
            "model": content,
            "training": {"precision": "float32"},
            "data": {},
        },
    )
    labels = numbers.integers(0, 2, 4096).astype(np.float32)
    table = pa.table({**draw_ids(config.features, 4096, 7), "label": labels})
    pq.write_table(table.slice(0, 1024), os.path.join(folder, runs.SAMPLES))
    pq.write_table(table, os.path.join(folder, "rows.parquet"))
    store.save(folder, 1, {}, read_slots(model_slots(model)))
    store.mark_best(folder, 1, "logloss", 0.5)
    return model


def publish(run_dir: str, output: str, version: int, *args: str):
    """Exports the run as a version."""
    from absl import flags as absl_flags

    from export import flags as export_flags
    from export import main

    values = absl_flags.FlagValues()
    export_flags.define(values)
    argv = ["export", f"--run_dir={run_dir}", f"--output={output}"]
    rest = values([*argv, f"--version={version}", *args])
    with contextlib.redirect_stdout(sys.stderr):
        if code := main.run(rest, values):
            raise RuntimeError(f"the export ended with exit code {code}")
