"""Compares ours with a naive Wukong: `python -m benchmarks.naive_keras`.

The naive one has a keras.layers.Embedding for all ids, layers that follow the
paper's equations literally, one Adam for all variables, and `fit`. Both train
alternately on batches of benchmarks.mid_size, each in a separate process, as
both together would need more memory than many machines have. The value is the
smallest over table sizes of the median ratio of throughputs over its bar, 1.5
at a million rows and 5 at ten million: the bars hold if it is at least 1.
"""

import json
import os
import statistics
import sys
import time

from absl import flags

from benchmarks import processes, run_program

ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds for each table size.")
STEPS = flags.DEFINE_integer("steps", 10, "Steps of a round.")
SIDE = flags.DEFINE_enum(
    "side", None, ("ours", "naive"), "Measure only one side, once."
)
ROWS = flags.DEFINE_integer("rows", 1_000_000, "Rows of its tables.")

BARS = {1_000_000: 1.5, 10_000_000: 5.0}


def make_naive(rows: int):
    """Returns a naive compiled Keras model from ids [B, F] to a logit."""
    import keras
    from keras import ops

    from benchmarks import mid_size

    sizes = mid_size.SIZES
    n, d, k = mid_size.FEATURES, sizes["embedding_dim"], sizes["rank"]
    out = sizes["num_fmb"]  # and as many of the linear compression

    def hidden(units):
        return [keras.layers.Dense(size, "relu") for size in units]

    class Layer(keras.layers.Layer):
        def build(self, shape):
            rows = shape[1]
            self.y = self.add_weight(shape=(rows, k), name="y")
            self.lcb = self.add_weight(shape=(out, rows), name="lcb")
            self.skip = self.add_weight(shape=(2 * out, rows), name="skip")
            self.norm, self.last = (
                keras.layers.LayerNormalization() for _ in range(2)
            )
            self.mlp = keras.Sequential(
                [*hidden(sizes["mlp_units"]), keras.layers.Dense(out * d)]
            )

        def call(self, x):
            fm = ops.matmul(ops.matmul(x, ops.swapaxes(x, 1, 2)), self.y)
            fm = self.norm(ops.reshape(fm, (-1, fm.shape[1] * k)))
            fmb = ops.reshape(self.mlp(fm), (-1, out, d))
            lcb = ops.einsum("mn,bnd->bmd", self.lcb, x)
            skip = ops.einsum("mn,bnd->bmd", self.skip, x)
            return self.last(ops.concatenate([fmb, lcb], axis=1) + skip)

    ids = keras.Input((n,), dtype="int32")
    x = keras.layers.Embedding(rows, d)(ids)
    for _ in range(sizes["num_layers"]):
        x = Layer()(x)
    x = keras.layers.Flatten()(x)
    for layer in hidden(sizes["head_units"]):
        x = layer(x)
    model = keras.Model(ids, keras.layers.Dense(1)(x))
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    return model


def naive_steps(rows: int, steps: int):
    """Returns a function that fits `steps` batches."""
    import numpy as np
    import tensorflow as tf

    from benchmarks import mid_size

    model = make_naive(rows)
    spec = mid_size.features(rows)
    batch = mid_size.batch(spec, 0, steps * mid_size.BATCH)
    offsets = np.arange(mid_size.FEATURES) * (rows // mid_size.FEATURES)
    ids = np.stack([batch[name] for name in mid_size.NAMES], 1) + offsets
    data = tf.data.Dataset.from_tensor_slices(
        (ids.astype(np.int32), batch["label"][:, None])
    ).batch(mid_size.BATCH)
    return lambda: model.fit(data.prefetch(2), verbose=0)


def examples_per_s(side: str, rows: int) -> float:
    """Returns the throughput of one side after a warm-up."""
    from benchmarks import mid_size

    if side == "naive":
        run = naive_steps(rows, STEPS.value)
    else:
        _, step = mid_size.training_step(rows)

        def run():
            for _ in range(STEPS.value):
                step()

    run()
    began = time.perf_counter()
    run()
    return STEPS.value * mid_size.BATCH / (time.perf_counter() - began)


def measured(side: str, rows: int) -> float:
    """Returns `examples_per_s`, measured in a separate process."""
    return float(
        processes.run(
            "benchmarks.naive_keras",
            f"--side={side}",
            f"--rows={rows}",
            f"--steps={STEPS.value}",
        )
    )


def main(argv):
    """Runs both at every table size and prints the result."""
    del argv
    if SIDE.value:
        print(examples_per_s(SIDE.value, ROWS.value))
        return
    sizes, shares = {}, []
    for rows, bar in BARS.items():
        pairs = []
        for number in range(ROUNDS.value):
            pairs.append((measured("ours", rows), measured("naive", rows)))
            ours, naive = pairs[-1]
            text = f"{rows} rows, round {number + 1}: {ours / naive:.2f}"
            print(text, file=sys.stderr)
        ratios = [ours / naive for ours, naive in pairs]
        middle = statistics.median(ratios)
        shares.append(middle / bar)
        sizes[str(rows)] = {
            "ratio": middle,
            "bar": bar,
            "ratios": ratios,
            "examples_per_s": statistics.median(ours for ours, _ in pairs),
            "naive_examples_per_s": statistics.median(x for _, x in pairs),
        }
    result = {
        "name": "naive_keras",
        "value": min(shares),
        "unit": "throughput over the naive model's, over the bar",
        "bar": 1.0,
        "holds": min(shares) >= 1.0,
        "sizes": sizes,
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
