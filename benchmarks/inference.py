"""Times a forward pass: `python -m benchmarks.inference`.

The model of benchmarks.mid_size from ids to probabilities, at batches of 1, 64
and 512 rows: the SavedModel's signature in TensorFlow and the ONNX file in
onnxruntime, alternately in one process, with the same number of threads.
Percentiles of one call in milliseconds. The value is the median at 64 rows in
TensorFlow over that in onnxruntime; it has no bar.
"""

import json
import os
import statistics
import sys
import tempfile
import time

from absl import flags

from benchmarks import run_program

CALLS = flags.DEFINE_integer("calls", 200, "Calls at each batch size.")
ROWS = flags.DEFINE_integer("rows", 100_000, "Rows of all tables.")

BATCHES = (1, 64, 512)


def make_calls(folder: str):
    """Returns {engine: a function from a dict of int64 ids to outputs}."""
    import onnxruntime
    import tensorflow as tf

    from benchmarks import mid_size
    from export.formats import saved_model
    from export.formats.onnx import model as onnx_model
    from export.served import naming
    from export.served.signatures import ServedModel
    from wukong_tf.models import build_model

    served = ServedModel(build_model(mid_size.config(ROWS.value)))
    saved_model.write(served, folder)
    onnx_model.write(served, folder)
    loaded = tf.saved_model.load(folder)
    serve = loaded.signatures[naming.PREDICT]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    session = onnxruntime.InferenceSession(
        os.path.join(folder, onnx_model.FILE),
        options,
        providers=["CPUExecutionProvider"],
    )

    def tensorflow(columns):
        tensors = {name: tf.constant(ids) for name, ids in columns.items()}
        return serve(**tensors)["probability"].numpy()

    def onnx(columns):
        return session.run(["probability"], columns)

    tensorflow.keep = loaded  # type: ignore[attr-defined]
    return {"tensorflow": tensorflow, "onnxruntime": onnx}


def main(argv):
    """Times the calls and prints the result."""
    del argv
    import numpy as np

    from benchmarks import mid_size

    spec = mid_size.features(ROWS.value)
    sizes: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        calls = make_calls(os.path.join(folder, "1"))
        for rows in BATCHES:
            batch = mid_size.batch(spec, rows, rows)
            columns = {
                name: batch[name].astype(np.int64) for name in mid_size.NAMES
            }
            times: dict[str, list[float]] = {name: [] for name in calls}
            for number in range(CALLS.value + 10):
                for name, call in calls.items():
                    began = time.perf_counter()
                    call(columns)
                    if number >= 10:  # the first ones warm up
                        times[name].append(1e3 * (time.perf_counter() - began))
            sizes[str(rows)] = {
                name: {
                    "p50_ms": statistics.median(times_ms),
                    "p99_ms": statistics.quantiles(times_ms, n=100)[98],
                    "rows_per_s": 1e3 * rows / statistics.median(times_ms),
                }
                for name, times_ms in times.items()
            }
            print(f"batch {rows}: {sizes[str(rows)]}", file=sys.stderr)
    middle = sizes["64"]
    result = {
        "name": "inference",
        "value": middle["tensorflow"]["p50_ms"]
        / middle["onnxruntime"]["p50_ms"],
        "unit": "TensorFlow's median time over onnxruntime's, at 64 rows",
        "bar": None,  # benchmarks.serving has the limits
        "holds": None,
        "batches": sizes,
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    run_program(main)
