"""Compares a step with the machine's roof: `python -m benchmarks.train_step`.

The trainer's step (model, rowwise Adagrad, Adam) on the model of
benchmarks.mid_size, with tables of a million rows in float32, alternates with a
product of two 4096 x 4096 matrices in the same process and threads. The value
is the median over rounds of the step's rate of floating-point operations over
that of the product, which is the roof; the step's operations are three times
the forward matrix products that `wukong_tf.scaling.cost` counts. Bar: 0.80.

On two cores of an AMD EPYC with AVX-512, with a roof of 222 GFLOP/s, the whole
step reaches 0.54; 0.53 with --jit_compile, 0.55 with --lookup=take, and 0.57
with GLIBC_TUNABLES=glibc.malloc.hugetlb=1 in the environment. Variants of only
the dense part (forward and backward pass, without tables and optimizers), as
their share of the roof, measured there alternately in one process:

    unchanged                                                  0.64
    X W by transposing X, multiplying and transposing back     0.62
    all of it compiled by XLA (--jit_compile)                  0.61
    width before rows throughout, one fused projection         0.43
    width before rows, separate projections                    0.52
    width before rows, compiled by XLA                         0.61
    rows before width, one fused product for Y, LCB, residual  0.63
    LCB merged into the residual's matrix                      0.64
    LayerNorm with a hand-written gradient                     0.65
    that, and its scale and shift folded into the next matrix  0.65
    LayerNorm and its sum compiled by XLA, the rest not        0.63

Limits: the MLPs' products, at these shapes and without other operations between
them, reach 0.96 of the roof, and are 0.94 of all operations. Products over the
32 or 39 rows of an example reach 40 to 140 GFLOP/s, and the norms, sums and the
lookup are bound by memory. One operation for Adam instead of Keras's twelve
gains 0.01 to 0.02 of the whole step.
"""

import json
import os
import statistics
import sys
import time

from absl import flags

from benchmarks import run_program

ROUNDS = flags.DEFINE_integer("rounds", 12, "Rounds.", lower_bound=10)
ROWS = flags.DEFINE_integer("rows", 1_000_000, "Rows of all tables.")
LOOKUP = flags.DEFINE_enum("lookup", "tfrs", ("tfrs", "take"), "Engine.")
JIT = flags.DEFINE_bool("jit_compile", False, "Compile the dense part.")

BAR = 0.80
SIDE = 4096


def seconds(function) -> float:
    """Returns the time of one call, including the wait for its result."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main(argv):
    """Runs the rounds and prints the result."""
    del argv
    import tensorflow as tf

    from benchmarks import mid_size
    from wukong_tf.scaling import cost

    config, step = mid_size.training_step(ROWS.value, LOOKUP.value, JIT.value)
    flop = 3 * cost(config).forward_flop * mid_size.BATCH
    matrix = tf.random.normal((SIDE, SIDE))
    product = tf.function(lambda: tf.matmul(matrix, matrix)[0, 0])

    def roof():
        return product().numpy()

    for _ in range(3):
        step(), roof()
    ratios, steps, roofs = [], [], []
    for number in range(ROUNDS.value):
        roofs.append(2 * SIDE**3 / seconds(roof))
        steps.append(flop / seconds(step))
        ratios.append(steps[-1] / roofs[-1])
        print(f"round {number + 1}: {ratios[-1]:.3f}", file=sys.stderr)
    low, middle, high = statistics.quantiles(ratios, n=4)
    rate = statistics.median(steps)
    result = {
        "name": "train_step",
        "value": middle,
        "unit": "FLOP/s of a training step over those of a 4096 product",
        "bar": BAR,
        "holds": middle >= BAR,
        "quartiles": [low, high],
        "examples_per_s": rate / flop * mid_size.BATCH,
        "gflop_per_s": rate / 1e9,
        "roof_gflop_per_s": statistics.median(roofs) / 1e9,
        "rows": ROWS.value,
        "lookup": LOOKUP.value,
        "jit_compile": JIT.value,
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
