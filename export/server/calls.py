"""Scoring of request bodies, shared by REST and gRPC."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from export.server import wire
from export.server.arrivals import Coming, spread
from export.server.versions import Loaded
from export.version.engines import Columns
from export.version.published import PREDICT


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
    loaded: Loaded, body: Mapping[str, Any], size: int, coming: Coming
) -> Scored:
    """Scores the body of a Predict request.

    Args:
        loaded: the version.
        body: body in the format of TensorFlow Serving's REST interface.
        size: bytes of the body.
        coming: the request's entry in admission control.

    Raises:
        BadRequest: if the body breaks a rule.
        Refused: if the model rejects the request.
        Overloaded: if too many rows wait.
    """
    forms = loaded.engine.forms
    name, columns, by_row = await spread(
        size, wire.predict_request, body, forms
    )
    form = forms[name]
    rows = max(len(v) for n, v in columns.items() if n not in form.context)
    coming.has(rows)
    outputs = await loaded.batchers[name].run(columns, rows)
    wanted = {each: outputs[each] for each in form.outputs}
    return Scored(wanted, rows, by_row)


async def on_examples(
    loaded: Loaded,
    body: Mapping[str, Any],
    kind: str,
    size: int,
    coming: Coming,
) -> np.ndarray:
    """Returns the probabilities for a Regress or Classify body.

    Args:
        loaded: the version.
        body: body in the format of TensorFlow Serving's REST interface.
        kind: "regress" or "classify".
        size: bytes of the body.
        coming: the request's entry in admission control.

    Raises:
        BadRequest: if the body breaks a rule.
        Refused: if the model rejects the request.
        Overloaded: if too many rows wait.
    """
    output = _probability(loaded, body, kind)
    form = loaded.engine.forms[PREDICT]
    columns = await spread(size, wire.examples_request, body, form)
    rows = len(next(iter(columns.values())))
    coming.has(rows)
    outputs = await loaded.batchers[PREDICT].run(columns, rows)
    return outputs[output]


def classes_of(values: np.ndarray) -> list[list[list[Any]]]:
    """Returns [class, score] of both classes for each row."""
    return [[["0", 1 - value], ["1", value]] for value in values.tolist()]


def _probability(loaded: Loaded, body, kind: str) -> str:
    """Returns the name of the output for a Regress or Classify body."""
    tasks = loaded.published.tasks
    alone = len(tasks) == 1
    names = {kind if alone else f"{task}_{kind}": task for task in tasks}
    name = wire.signature_name(body, next(iter(names)), names)
    return tasks[names[name]]["probability"]
