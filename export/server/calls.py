"""Scoring of request bodies, shared by REST and gRPC."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from export.served.naming import PREDICT, task_signatures
from export.server import wire
from export.server.arrivals import Admitted, spread
from export.server.loading import Loaded
from export.version.engines import Columns


@dataclasses.dataclass(frozen=True)
class Scored:
    """Outputs of a Predict request.

    Args:
        outputs: name to array, in the order of the signature.
        rows: number of rows.
        by_row: whether the request was a list of rows.
    """

    outputs: Columns
    rows: int
    by_row: bool


async def predict(
    loaded: Loaded, body: Mapping[str, Any], size: int, admitted: Admitted
) -> Scored:
    """Scores the body of a Predict request.

    Args:
        loaded: the version.
        body: body in the format of TensorFlow Serving's REST interface.
        size: bytes of the body.
        admitted: the request's entry in admission control.

    Raises:
        BadRequest: if the body breaks a rule.
        Refused: if the model rejects the request.
        Overloaded: if too many rows wait.
    """
    signatures = loaded.engine.signatures
    name, columns, by_row = await spread(
        size, wire.predict_request, body, signatures
    )
    spec = signatures[name]
    rows = max(len(v) for n, v in columns.items() if n not in spec.context)
    admitted.is_read(rows)
    outputs = await loaded.batchers[name].run(columns, rows)
    ordered = {output: outputs[output] for output in spec.outputs}
    return Scored(ordered, rows, by_row)


async def on_examples(
    loaded: Loaded,
    body: Mapping[str, Any],
    kind: str,
    size: int,
    admitted: Admitted,
) -> np.ndarray:
    """Returns the probabilities for a Regress or Classify body.

    Args:
        loaded: the version.
        body: body in the format of TensorFlow Serving's REST interface.
        kind: "regress" or "classify".
        size: bytes of the body.
        admitted: the request's entry in admission control.

    Raises:
        BadRequest: if the body breaks a rule.
        Refused: if the model rejects the request.
        Overloaded: if too many rows wait.
    """
    output = _probability_name(loaded, body, kind)
    spec = loaded.engine.signatures[PREDICT]
    columns = await spread(size, wire.examples_request, body, spec)
    rows = len(next(iter(columns.values())))
    admitted.is_read(rows)
    outputs = await loaded.batchers[PREDICT].run(columns, rows)
    return outputs[output]


def class_scores(values: np.ndarray) -> list[list[list[Any]]]:
    """Returns [class, score] of both classes for each row."""
    return [[["0", 1 - value], ["1", value]] for value in values.tolist()]


def _probability_name(loaded: Loaded, body, kind: str) -> str:
    """Returns the name of the output for a Regress or Classify body."""
    tasks = {
        name: task
        for name, (task, served_kind) in task_signatures(
            loaded.published.tasks
        ).items()
        if served_kind == kind
    }
    name = wire.signature_name(body, next(iter(tasks)), tasks)
    return loaded.published.tasks[tasks[name]]["probability"]
