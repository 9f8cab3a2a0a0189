"""InteractionStack on a GPU: `python -m benchmarks.gpu_interactions`.

KERAS_BACKEND=jax or torch chooses the backend; TensorFlow is not needed. For
the paper's scale points from 0.53 to 22 GFLOP (720 embeddings of width 160):
forward and backward passes in bfloat16, as a share of the GPU's rate in a
product of two random 8192 x 8192 bfloat16 matrices, eight at a time, measured
alternately; and the
largest error of the float32 stack compared with a float64 oracle, over the
largest output. The value is the smallest share at 5.6 GFLOP and above. Bar:
0.50.

It has not been run on a GPU yet, so no figures are given.
"""

import datetime
import json
import os
import platform
import statistics
import sys
import time

from absl import flags

from benchmarks import run_program

PRESETS = flags.DEFINE_list(
    "presets",
    ["internal_0.53gf", "internal_1.25gf", "internal_2.12gf"]
    + ["internal_5.6gf", "internal_22.23gf"],
    "Scale points to run.",
)
BATCH = flags.DEFINE_integer("batch_size", 2048, "Rows of a step.")
ROUNDS = flags.DEFINE_integer("rounds", 10, "Rounds.", lower_bound=3)
SIDE = flags.DEFINE_integer(
    "side", 8192, "Rows of the matrices of the product."
)
CPU = flags.DEFINE_bool("cpu", False, "Run without a GPU, to try the script.")

BAR, FROM_GFLOP = 0.50, 5.6
ROWS, WIDTH = 720, 160
ORACLE_ROWS = 4
PRODUCTS = 8  # for each wait, so that the start of one is not measured


def make_stack(name: str, dtype: str):
    """Returns a preset's built stack, and its multiply-adds per example."""
    from wukong_tf.config import CategoricalFeature, FeatureSpec
    from wukong_tf.layers import InteractionStack
    from wukong_tf.scaling import cost, preset

    spec = FeatureSpec(
        tuple(CategoricalFeature(f"feature_{i}", 1) for i in range(ROWS))
    )
    config = preset(name).config(spec)
    stack = InteractionStack(
        config.num_layers,
        config.num_fmb,
        config.num_lcb,
        config.rank,
        config.mlp_units,
        config.fm,
        dtype=dtype,
        name="stack",
    )
    stack.build((None, ROWS, WIDTH))
    parts = [p for p in cost(config).parts if p.name.startswith("layer ")]
    return stack, sum(part.macs for part in parts)


def on_jax(stack, x):
    """Returns functions that start a step, start a product, and wait."""
    import jax
    import jax.numpy as jnp

    fixed = [variable.value for variable in stack.non_trainable_variables]
    weights = [variable.value for variable in stack.trainable_variables]

    @jax.jit
    def step(weights, x):
        def loss(weights, x):
            y, _ = stack.stateless_call(weights, fixed, x, training=True)
            return jnp.sum(jnp.square(y.astype("float32")))

        return jax.grad(loss, argnums=(0, 1))(weights, x)

    x = jnp.asarray(x, "bfloat16")
    square = jax.random.normal(
        jax.random.key(0), (SIDE.value, SIDE.value), "bfloat16"
    )
    product = jax.jit(jnp.matmul)

    def products():
        result = square
        for _ in range(PRODUCTS):
            result = product(square, square)
        return result

    return lambda: step(weights, x), products, jax.block_until_ready


def on_torch(stack, x):
    """Returns functions that start a step, start a product, and wait."""
    import torch

    device = stack.trainable_variables[0].value.device
    x = torch.tensor(x, dtype=torch.bfloat16, device=device)
    x.requires_grad_()
    side = (SIDE.value, SIDE.value)
    square = torch.randn(side, dtype=torch.bfloat16, device=device)
    weights = [variable.value for variable in stack.trainable_variables]

    def step():
        loss = torch.sum(torch.square(stack(x, training=True).float()))
        return torch.autograd.grad(loss, [*weights, x])

    def wait(result):
        del result
        if device.type == "cuda":
            torch.cuda.synchronize()

    def products():
        result = square
        for _ in range(PRODUCTS):
            result = square @ square
        return result

    return step, products, wait


def share_of_roof(name: str, backend: str):
    """Returns ratios of a preset's rate to the roof, and its TFLOP/s."""
    import numpy as np

    stack, macs = make_stack(name, "mixed_bfloat16")
    shape = (BATCH.value, ROWS, WIDTH)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    step, roof, wait = {"jax": on_jax, "torch": on_torch}[backend](stack, x)
    work = {
        step: 6 * macs * BATCH.value,
        roof: 2 * SIDE.value**3 * PRODUCTS,
    }
    for function in work:
        for _ in range(3):
            wait(function())
    ratios, rates = [], []
    for _ in range(ROUNDS.value):
        rate = {}
        for function, flop in work.items():
            began = time.perf_counter()
            wait(function())
            rate[function] = flop / (time.perf_counter() - began)
        ratios.append(rate[step] / rate[roof])
        rates.append(rate[step])
    return ratios, statistics.median(rates) / 1e12


def error_of_float32(name: str) -> float:
    """Returns the largest error over the oracle's largest output."""
    import keras
    import numpy as np

    from tests.oracles import blocks

    stack, _ = make_stack(name, "float32")
    weights = {
        weight.path.split("/", 1)[1]: keras.ops.convert_to_numpy(weight)
        for weight in stack.weights
    }
    shape = (ORACLE_ROWS, ROWS, WIDTH)
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    actual = keras.ops.convert_to_numpy(keras.ops.stop_gradient(stack(x)))
    expected = x.astype(np.float64)
    for index in range(stack.num_layers):  # of which one is in float64
        layer = blocks.inside(weights, f"layer_{index}")
        layer = {path: w.astype(np.float64) for path, w in layer.items()}
        expected = blocks.wukong_layer(expected, layer, blocks.EPSILON)
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def chip(backend: str) -> str | None:
    """Returns the name of the GPU, or None if there is none."""
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return device.device_kind if device.platform == "gpu" else None
    import torch

    available = torch.cuda.is_available()
    return torch.cuda.get_device_name(0) if available else None


def main(argv):
    """Runs the presets and prints the result."""
    del argv
    import keras

    from wukong_tf.scaling import preset

    backend = keras.backend.backend()
    if backend not in ("jax", "torch"):
        sys.exit(
            f"error: KERAS_BACKEND must be jax or torch; received {backend}."
        )
    device = chip(backend)
    if device is None and not CPU.value:
        sys.exit(f"error: {backend} has no GPU; --cpu runs without one.")
    results, shares = {}, []
    for name in PRESETS.value:
        ratios, rate = share_of_roof(name, backend)
        share = statistics.median(ratios)
        results[name] = {
            "share_of_roof": share,
            "quartiles": statistics.quantiles(ratios, n=4)[::2],
            "tflop_per_s": rate,
            "float32_error": error_of_float32(name),
        }
        print(f"{name}: {results[name]}", file=sys.stderr)
        if preset(name).printed["gflop"] >= FROM_GFLOP:
            shares.append(share)
    value = min(shares, default=None)
    result = {
        "name": "gpu_interactions",
        "value": value,
        "unit": "smallest share of the product's rate from 5.6 GFLOP on",
        "bar": BAR,
        "holds": None if value is None else value >= BAR,
        "presets": results,
        "chip": device or f"no GPU ({platform.machine()})",
        "backend": backend,
        "keras": keras.version(),
        "batch_size": BATCH.value,
        "date": datetime.date.today().isoformat(),
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
