"""Canonical names of a model's and its optimizers' arrays.

A checkpoint is independent of fused tables and of distribution: every table is
stored under its own name, whatever variable it shares, and so are its optimizer
slots.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from wukong_tf.embeddings import table_rows
from wukong_tf.errors import RunError
from wukong_tf.names import without_digests
from wukong_tf.runs.views import AVERAGED, Renamed

TABLES = (
    "tables/",
    "optimizer/tables/accumulator/",
    "optimizer/tables/momentum/",
    "optimizer/tables/velocity/",
    "optimizer/average/tables/",
)


@dataclasses.dataclass(frozen=True)
class NamedArray:
    """One canonical array: a variable, or a run of its rows.

    Args:
        name: canonical name.
        variable: the Keras variable.
        rows: (first, past the last) row of the variable, or None for all.
    """

    name: str
    variable: Any
    rows: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the canonical array."""
        shape = tuple(self.variable.shape)
        if self.rows is None:
            return shape
        return (self.rows[1] - self.rows[0], *shape[1:])


def model_slots(model) -> list[NamedArray]:
    """Returns the arrays of a ClickModel: tables/NAME and dense/PATH."""
    plans = {id(layer.table): ("tables", layer.plan) for layer in model.tables}
    return _numbered(_slots(model.variables, plans, "dense"))


def optimizer_slots(model, groups) -> list[NamedArray]:
    """Returns the arrays of OptimizerGroups: optimizer/GROUP/...."""
    slots = []
    fused = {id(layer.table): layer.plan for layer in model.tables}
    for name, optimizer in groups.optimizers.items():
        prefix = f"optimizer/{name}"
        plans = {}
        if hasattr(optimizer, "row_slots"):
            plans = {
                id(slot): (f"{prefix}/{kind}", fused[id(variable)])
                for variable in groups.variables[name]
                if id(variable) in fused
                for kind, slot in optimizer.row_slots(variable).items()
            }
        slots += _slots(optimizer.variables, plans, prefix)
    return _numbered(slots)


def _slots(variables, plans, other) -> list[NamedArray]:
    """Returns the arrays of variables, those with a `FusedTable` by table."""
    slots = []
    for variable in variables:
        if id(variable) in plans:
            kind, plan = plans[id(variable)]
            slots += [
                NamedArray(
                    f"{kind}/{table.name}",
                    variable,
                    (table.offset, table.offset + table.rows),
                )
                for table in plan.tables
            ]
        else:
            name = f"{other}/{_stable_path(variable)}"
            shards = getattr(variable, "shards", None)
            rows = None if shards is None else (0, shards.rows)
            slots.append(NamedArray(name, variable, rows))
    return slots


def table_name(name: str) -> str | None:
    """Returns the table whose rows or slots an array holds, or None."""
    for prefix in TABLES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return None


def training_slots(model, groups) -> list[NamedArray]:
    """Returns all arrays of a run: those of its model and its optimizers.

    If weights are averaged, dense/PATH is the average, which is evaluated and
    served, and optimizer/average/PATH the trained weights; likewise tables/NAME
    and optimizer/average/tables/NAME.
    """
    slots = model_slots(model) + optimizer_slots(model, groups)
    if groups.average is None:
        return slots
    averages = {id(v): average for v, average in groups.average.pairs()}
    with_averages = []
    for slot in slots:
        average = averages.get(id(slot.variable))
        if average is None:
            with_averages.append(slot)
            continue
        path = slot.name.removeprefix("dense/")
        with_averages.append(dataclasses.replace(slot, variable=average))
        with_averages.append(
            dataclasses.replace(slot, name=f"{AVERAGED}{path}")
        )
    return with_averages


def under_current_names(
    arrays: Mapping[str, np.ndarray], slots: Iterable[NamedArray]
) -> Mapping[str, np.ndarray]:
    """Returns a checkpoint's arrays under the current names of slots.

    Earlier versions named layers only by the stems of identifiers, and numbered
    those with equal stems in their order.

    Args:
        arrays: canonical arrays of any version.
        slots: slots of the model that wrote them, in its order.
    """
    names = [slot.name for slot in slots if table_name(slot.name) is None]
    marked = [name for name in names if name != without_digests(name)]
    if all(n in arrays for n in marked if n.startswith("dense/")):
        return arrays
    return Renamed(
        arrays,
        dict(zip(names, _unique(map(without_digests, names)), strict=True)),
    )


class StoredRows:
    """A canonical array in a variable, read on demand.

    `np.asarray` returns all of it; `chunks` yields it in pieces, so that at
    most a few megabytes of a table are in memory twice.

    Args:
        slot: slot of the array.
    """

    def __init__(self, slot: NamedArray):
        self._slot = slot
        self.shape = slot.shape
        self.dtype = np.dtype(str(slot.variable.dtype))

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields the array in pieces along its first axis."""
        variable, rows = self._slot.variable, self._slot.rows
        if rows is None:
            yield np.asarray(keras.ops.convert_to_numpy(variable))
            return
        for start, stop in table_rows.chunks(
            rows, table_rows.row_bytes(variable)
        ):
            yield table_rows.read(variable, start, stop)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        del copy  # what is read is a copy already
        if self._slot.rows is None:
            (whole,) = self.chunks()
        else:
            whole = np.empty(self.shape, self.dtype)
            start = 0
            for chunk in self.chunks():
                whole[start : start + len(chunk)] = chunk
                start += len(chunk)
        return whole if dtype is None else whole.astype(dtype)


def read_slots(slots: Iterable[NamedArray]) -> Iterable[tuple[str, StoredRows]]:
    """Yields each slot's name, and its array to be read on demand."""
    for slot in slots:
        yield slot.name, StoredRows(slot)


def read_arrays(slots: Iterable[NamedArray]) -> dict[str, np.ndarray]:
    """Returns each slot's whole array by name."""
    return {name: np.asarray(rows) for name, rows in read_slots(slots)}


def assign_slots(slots: Iterable[NamedArray], arrays: Mapping[str, np.ndarray]):
    """Assigns to every slot's variable the array of its name.

    Raises:
        RunError: an array is missing, or has another shape or another kind of
            numbers (floats or integers) than the variable; then nothing is
            assigned.
    """
    slots = list(slots)
    arrays = under_current_names(arrays, slots)
    for slot in slots:
        if slot.name not in arrays:
            raise RunError(f"the checkpoint has no array {slot.name!r}.")
        array = arrays[slot.name]
        kind = _kind(slot.variable.dtype)
        if tuple(array.shape) != slot.shape or _kind(array.dtype) != kind:
            raise RunError(
                f"the checkpoint's array {slot.name!r} must hold {kind} of "
                f"shape {slot.shape}; it holds {array.dtype} of shape "
                f"{tuple(array.shape)}."
            )
    for slot in slots:
        write_slot(slot, arrays[slot.name])


def write_slot(slot: NamedArray, array: Any):
    """Assigns an array of its shape to a slot, a few megabytes at a time."""
    if slot.rows is None:
        slot.variable.assign(np.asarray(array))
        return
    table_rows.write(
        slot.variable,
        slot.rows,
        lambda start, stop: np.asarray(array[start:stop]),
    )


def _kind(dtype):
    """Returns the kind of numbers; seeds differ in integers by backend."""
    name = str(dtype)
    return next((kind for kind in ("float", "int") if kind in name), name)


def _stable_path(variable):
    """Returns a path without the names that Keras numbers by process.

    Those are the model's or optimizer's own and the seed generators'.
    """
    path = variable.path.split("/", 1)[-1]
    return re.sub(r"(^|/)seed_generator_\d+/", r"\1seed_generator/", path)


def _numbered(slots):
    """Numbers slots of the same name, such as seed states, in order."""
    names = _unique(slot.name for slot in slots)
    return [
        dataclasses.replace(slot, name=name)
        for slot, name in zip(slots, names, strict=True)
    ]


def _unique(names: Iterable[str]) -> list[str]:
    """Returns the names, with ":1" and so on appended to repeated ones."""
    seen: collections.Counter[str] = collections.Counter()
    result = []
    for name in names:
        count = seen[name]
        seen[name] += 1
        result.append(f"{name}:{count}" if count else name)
    return result
