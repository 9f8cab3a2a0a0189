"""Requests to score, by whichever door they come."""

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
        rows: of each.
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
        body: as TensorFlow Serving's REST interface has it.
        size: bytes of the body.
        coming: counts it until it waits.

    Raises:
        BadRequest: the body breaks a rule.
        Refused: the model refuses it.
        Overloaded: too many rows wait.
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
    """Returns the probabilities that a Regress or Classify body asks for.

    Args:
        loaded: the version.
        body: as TensorFlow Serving's REST interface has it.
        kind: "regress" or "classify".
        size: bytes of the body.
        coming: counts it until it waits.

    Raises:
        BadRequest: the body breaks a rule.
        Refused: the model refuses it.
        Overloaded: too many rows wait.
    """
    output = _probability(loaded, body, kind)
    form = loaded.engine.forms[PREDICT]
    columns = await spread(size, wire.examples_request, body, form)
    rows = len(next(iter(columns.values())))
    coming.has(rows)
    outputs = await loaded.batchers[PREDICT].run(columns, rows)
    return outputs[output]


def classes_of(values: np.ndarray) -> list[list[list[Any]]]:
    """Both classes of each row and their scores."""
    return [[["0", 1 - value], ["1", value]] for value in values.tolist()]


def _probability(loaded: Loaded, body, kind: str) -> str:
    """The output that a Regress or Classify body asks for."""
    tasks = loaded.published.tasks
    alone = len(tasks) == 1
    names = {kind if alone else f"{task}_{kind}": task for task in tasks}
    name = wire.signature_name(body, next(iter(names)), names)
    return tasks[names[name]]["probability"]
