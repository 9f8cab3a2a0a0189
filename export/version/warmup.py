"""Warm-up requests, which a server runs before it serves a version."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from export.formats.signature_session import SignatureSession
from export.served import naming, requests
from export.served.signatures import ServedModel
from wukong_tf.errors import ExportError

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000  # a server rejects a file with more


def write(
    served: ServedModel,
    samples: pa.Table,
    folder: str,
    model_name: str,
    batch_sizes: Sequence[int],
) -> int:
    """Writes a request of each size for every signature.

    Args:
        served: the model.
        samples: rows in the form of requests; used in turn.
        folder: the version's directory.
        model_name: the model's name in the requests.
        batch_sizes: numbers of rows of the requests.

    Returns:
        The number of requests.

    Raises:
        ExportError: if there are more than a server accepts, or they cannot
            be written.
    """
    names = list(served.functions())
    count = len(names) * len(batch_sizes)
    if count > MAX_RECORDS:
        raise ExportError(
            f"--batch_sizes: {len(batch_sizes)} sizes of {len(names)} "
            f"signatures are {count} warm-up requests; TensorFlow Serving "
            f"accepts at most {MAX_RECORDS}."
        )
    path = os.path.join(folder, FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with tf.io.TFRecordWriter(path) as writer:
            for record in _records(served, samples, model_name, batch_sizes):
                writer.write(record.SerializeToString(deterministic=True))
    except tf.errors.OpError as error:  # e.g. a full disk
        raise ExportError(
            f"{path} cannot be written: {error.message}."
        ) from error
    return count


def _records(served, samples, model_name, batch_sizes) -> Iterator:
    encodings = requests.RequestEncodings(served)
    tasks = naming.task_signatures(task.name for task in served.spec.tasks)
    first = 0
    for name in served.functions():
        encoding = naming.COLUMN_ENCODINGS.get(name, "tf_example")
        for size in batch_sizes:
            places = (first + np.arange(size)) % samples.num_rows
            columns = encodings.by_name(encoding)(samples.take(places))
            first += size
            if name in tasks:
                _, kind = tasks[name]
                examples = columns[naming.EXAMPLES]
                yield _examples_log(kind, model_name, name, examples)
            else:
                yield predict_log(model_name, name, columns)


def predict_log(model_name: str, signature: str, columns):
    """Returns the PredictionLog of a Predict request."""
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, value in columns.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log


def _examples_log(kind, model_name, signature, examples):
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, f"{kind}_log").request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for example in examples:
        request.input.example_list.examples.add().ParseFromString(example)
    return log


def replay(folder: str, session: SignatureSession | None = None) -> int:
    """Runs every warm-up request of a version, as a server does on loading.

    Args:
        folder: the version's directory.
        session: a session of it, which is closed. Defaults to None, a new one.

    Returns:
        The number of requests.

    Raises:
        ExportError: if one cannot be read or run; the message has its number.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    session = session or SignatureSession(folder)
    path = os.path.join(folder, FILE)
    number = 0
    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            number += 1
            log = prediction_log_pb2.PredictionLog.FromString(record)
            session.run(*request_from_log(log))
    except (tf.errors.OpError, DecodeError, ValueError) as error:
        raise ExportError(
            f"{FILE}: request {number} (from 1) failed: {error}."
        ) from error
    finally:
        session.close()
    return number


def request_from_log(log) -> tuple[str, dict[str, np.ndarray]]:
    """Returns the signature and the columns of a PredictionLog.

    Raises:
        ValueError: if it is of an unsupported kind.
    """
    kind = log.WhichOneof("log_type")
    if kind not in ("predict_log", "regress_log", "classify_log"):
        raise ValueError(f"records of kind {kind!r} are not supported")
    request = getattr(log, kind).request
    if kind == "predict_log":
        columns = {
            name: tf.make_ndarray(value)
            for name, value in request.inputs.items()
        }
    else:
        texts = [
            example.SerializeToString()
            for example in request.input.example_list.examples
        ]
        columns = {naming.EXAMPLES: np.array(texts, object)}
    return request.model_spec.signature_name, columns
