"""Starts a model from another's weights if features or tables changed.

Rows of tables are mapped by the meaning of their ids, and the parameters that
belong to rows of X_0 by the features of these rows. Parameters without a
counterpart keep their initial values.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from wukong_tf.config import FeatureSpec, ModelConfig
from wukong_tf.config.categorical_feature import OOV_ID, CategoricalFeature
from wukong_tf.config.features import Task
from wukong_tf.embeddings import table_rows
from wukong_tf.errors import RunError
from wukong_tf.names import identifier
from wukong_tf.runs.arrays import (
    AVERAGED,
    TABLES,
    NamedArray,
    StoredRows,
    table_of,
    under_current_names,
)

MakeSlots = Callable[[ModelConfig], Sequence[NamedArray]]
Axes = dict[tuple[str, int], int | str]
# Labels of an axis with one entry for each task or pair of rows of X_0.
_TASKS, _SQUARE = "tasks", "square"


@dataclasses.dataclass
class Report:
    """The weights that were carried over.

    Args:
        tables: by table, rows that matched, new rows, and rows of the other
            model that were dropped.
        matched: other arrays that were carried over whole.
        mapped: other arrays that were carried over by rows of X_0.
        new: other arrays that have their initial value.
        dropped: arrays of the other model without a counterpart.
    """

    tables: dict[str, tuple[int, int, int]] = dataclasses.field(
        default_factory=dict
    )
    matched: list[str] = dataclasses.field(default_factory=list)
    mapped: list[str] = dataclasses.field(default_factory=list)
    new: list[str] = dataclasses.field(default_factory=list)
    dropped: list[str] = dataclasses.field(default_factory=list)

    def lines(self) -> list[str]:
        """Returns the report as lines of text."""
        lines = [
            f"table {name}: {matched:,} rows matched, {new:,} new, "
            f"{dropped:,} dropped"
            for name, (matched, new, dropped) in self.tables.items()
        ]
        lines.append(
            f"other arrays: {len(self.matched)} matched, {len(self.mapped)} "
            f"matched by features, {len(self.new)} new, {len(self.dropped)} "
            "dropped"
        )
        for what in ("new", "dropped"):
            names = [n for n in getattr(self, what) if "optimizer/" not in n]
            if names:
                more = "..." if len(names) > 8 else ""
                lines.append(f"{what}: {', '.join(names[:8])}{more}")
        return lines


def carry_over(
    old: ModelConfig,
    arrays: Mapping[str, np.ndarray],
    new: ModelConfig,
    slots: Sequence[NamedArray],
    make_slots: MakeSlots,
) -> Report:
    """Assigns matching values of `arrays` to `slots`.

    Args:
        old: configuration of the model of the arrays.
        arrays: canonical arrays, such as a checkpoint's.
        new: configuration of the model of the slots.
        slots: slots with their initial values.
        make_slots: builds the slots of a small model of a configuration, to
            learn which axes belong to rows of X_0.

    Raises:
        RunError: the models differ in kind, or have nothing in common.
    """
    if old.model != new.model:
        raise RunError(
            f"a {new.model} cannot start from the weights of a {old.model}."
        )
    report = Report()
    arrays = under_current_names(arrays, make_slots(_small(old)))
    rows_of = {
        name: _old_rows(old.features, new.features, name)
        for name in {f.table_name for f in new.features.categorical}
    }
    axes = row_axes(new, make_slots)
    if _tasks(old) != _tasks(new):
        axes |= task_axes(new, make_slots)
    for slot in slots:
        table = table_of(slot.name)
        if table is not None:
            array = arrays.get(slot.name)
            columns = _columns(slot, old, new, array, axes)
            rows = rows_of[table]
            _carry_table(slot, table, rows, array, columns, report)
        else:
            _carry_array(slot, old, new, arrays, axes, report)
    known = {slot.name for slot in slots}
    for name in arrays:
        if name in known:
            continue
        table = table_of(name)
        if table is None:
            report.dropped.append(name)
        elif name.startswith(TABLES[0]):
            report.tables[table] = (0, 0, len(arrays[name]))
    if not report.matched and not any(m for m, _, _ in report.tables.values()):
        raise RunError(
            "the two models have nothing in common: no table of the same "
            "width and no array of the same shape."
        )
    return report


def _old_rows(old: FeatureSpec, new: FeatureSpec, table: str) -> np.ndarray:
    """Returns the other model's row for each row of a table, or -1; int64."""
    mine = _first(new, table)
    theirs = _first(old, table)
    found = np.full(mine.num_ids, -1, np.int64)
    if theirs is None:
        return found
    here, there = new.vocabulary(table), old.vocabulary(table)
    if here is not None and there is not None:
        found[:OOV_ID] = np.arange(OOV_ID)
        if mine.oov_buckets == theirs.oov_buckets:
            found[OOV_ID : mine.first_id] = np.arange(OOV_ID, mine.first_id)
        places = {word: theirs.first_id + i for i, word in enumerate(there)}
        words = [places.get(word, -1) for word in here]
        found[mine.first_id : mine.first_id + len(words)] = words
        return found
    if here is not None or there is not None:
        found[:OOV_ID] = np.arange(OOV_ID)  # the ids differ in meaning
        return found
    if mine.boundaries != theirs.boundaries:
        found[:OOV_ID] = np.arange(OOV_ID)
        return found
    hashed = mine.raw is not None and mine.boundaries is None
    if hashed and mine.num_ids != theirs.num_ids:
        found[:OOV_ID] = np.arange(OOV_ID)
        return found
    # Ids mean the same in both models, up to the smaller table.
    both = min(mine.num_ids, theirs.num_ids)
    found[:both] = np.arange(both)
    return found


def _first(spec, table) -> CategoricalFeature | Any:
    """Returns a table's feature, one with its vocabulary if any states it."""
    features = [f for f in spec.categorical if f.table_name == table]
    stated = [f for f in features if f.vocabulary is not None]
    return next(iter(stated or features), None)


def _carry_table(slot, table, rows, array, columns, report):
    """Carries over rows of a table or of its optimizer slots.

    Args:
        slot: slot of the table.
        table: name of the table.
        rows: for each row of the table, that of the array, or -1.
        array: the other model's array, or None.
        columns: (columns here, columns there) that match, or None if the array
            does not fit.
        report: report to update.
    """
    if array is None or columns is None:
        if slot.name.startswith(TABLES[0]):
            dropped = 0 if array is None else len(array)
            report.tables[table] = (0, slot.shape[0], dropped)
        return
    first = slot.rows[0]
    here, there = columns

    def values(start, stop):
        found = table_rows.read(slot.variable, first + start, first + stop)
        old = rows[start:stop]
        found = np.array(found)
        kept = found[old >= 0]
        kept[here] = array[old[old >= 0]][there]
        found[old >= 0] = kept
        return found

    table_rows.write(slot.variable, slot.rows, values)
    if slot.name.startswith(TABLES[0]):
        matched = int((rows >= 0).sum())
        used = len(np.unique(rows[rows >= 0]))
        report.tables[table] = (
            matched,
            len(rows) - matched,
            len(array) - used,
        )


def _columns(slot, old, new, array, axes):
    """Returns indices of a table's columns, here and there, or None."""
    if array is None or len(array.shape) != len(slot.shape):
        return None
    # Rows are matched by their values, so their numbers may differ.
    shape = (slot.shape[0], *array.shape[1:])
    places = _places(slot.name, axes, old, new, shape, slot.shape)
    if places is None:
        return None
    every = slice(None)
    here, there = (
        (every, *(every if p is None else p for p in side))
        for side in ([p[0] for p in places[1:]], [p[1] for p in places[1:]])
    )
    return here, there


def _carry_array(slot, old, new, arrays, axes, report):
    array = arrays.get(slot.name)
    if array is None:
        report.new.append(slot.name)
        return
    value = np.array(np.asarray(StoredRows(slot)))
    places = _places(slot.name, axes, old, new, array.shape, value.shape)
    if places is None:
        report.new.append(slot.name)
        report.dropped.append(slot.name)
        return
    if all(here is None for here, _ in places):
        slot.variable.assign(np.asarray(array))
        report.matched.append(slot.name)
        return
    here = np.ix_(
        *(
            np.arange(size) if mine is None else mine
            for (mine, _), size in zip(places, value.shape, strict=True)
        )
    )
    there = np.ix_(
        *(
            np.arange(size) if mine is None else theirs
            for (mine, theirs), size in zip(places, array.shape, strict=True)
        )
    )
    value[here] = np.asarray(array)[there]
    slot.variable.assign(value)
    report.mapped.append(slot.name)


def _places(name, axes, old, new, old_shape, new_shape):
    """Returns (indices here, indices there) that match, for each axis.

    An unchanged axis has (None, None). Returns None if shapes cannot match.
    """
    if len(old_shape) != len(new_shape):
        return None
    found: list[tuple[Any, Any]] = []
    for axis, sizes in enumerate(zip(old_shape, new_shape, strict=True)):
        theirs, mine = _labels(name, axis, axes, old, new)
        if mine is None or theirs == mine:
            if sizes[0] != sizes[1]:
                return None
            found.append((None, None))
            continue
        block = axes.get((name, axis), 1)
        block = 1 if block == _TASKS else block
        if block == _SQUARE:
            theirs = [(a, b) for a in theirs for b in theirs]
            mine = [(a, b) for a in mine for b in mine]
            block = 1
        if sizes != (len(theirs) * block, len(mine) * block):
            return None
        place = {label: index for index, label in enumerate(theirs)}
        pairs = [
            (index * block + step, place[label] * block + step)
            for index, label in enumerate(mine)
            if label in place
            for step in range(block)
        ]
        here, there = np.array(pairs, int).reshape(-1, 2).T
        found.append((here, there))
    return found


def _labels(name, axis, axes, old, new):
    """Returns the labels of an axis, in the other model and in this one."""
    if axes.get((name, axis)) == _TASKS:
        return _tasks(old), _tasks(new)
    if (name, axis) in axes:
        return row_labels(old), row_labels(new)
    if axis == 0 and _is_first_kernel(new.model, name, "numeric"):
        return tuple(
            [feature.name for feature in config.features.numeric]
            for config in (old, new)
        )
    for group in new.features.embedding_groups:
        layer = f"group_{identifier(group.name)}"
        if axis == 0 and _is_first_kernel(new.model, name, layer):
            return tuple(
                _group_columns(config, group.name) for config in (old, new)
            )
    return None, None


def _is_first_kernel(model, name, layer):
    """Returns whether an array is of the first kernel of an embedding layer."""
    path = ("feature_embedding", layer, "dense_0", "kernel")
    # Optimizer slots join the path by "_", after the model's own name.
    flat = rf"optimizer/[^/]+/{model}_{re.escape('_'.join(path))}_[a-z]+"
    paths = rf"(dense|{re.escape(AVERAGED[:-1])})/{re.escape('/'.join(path))}"
    return re.fullmatch(f"{paths}|{flat}", name) is not None


def _tasks(config):
    return [task.name for task in config.features.tasks]


def _group_columns(config, group):
    """Returns the columns of the concatenation that a group's MLP takes."""
    return [
        (feature.name, column)
        for feature in config.features.categorical
        if feature.embedding_group == group
        for column in range(config.table_width(feature))
    ]


def row_labels(config: ModelConfig) -> list[tuple[str, str, int]]:
    """Returns the kind, name and index of each row of X_0."""
    return config.features.rows(getattr(config, "numeric_embeddings", 1))


def row_axes(config: ModelConfig, make_slots: MakeSlots) -> Axes:
    """Returns the axes of arrays that belong to rows of X_0.

    They are found by building the model over small tables, and again with one
    and with two more rows of X_0.

    Returns:
        dict of (array, axis) to the numbers that each row has along it, or to
        "square" if the axis has one for each pair of rows.
    """
    rows = len(row_labels(config))
    few = {s.name: s.shape for s in make_slots(_small(config, 0))}
    found: Axes = {}
    # Some arrays exist only if rows in and out differ in number.
    for more in (1, 2):
        many = {s.name: s.shape for s in make_slots(_small(config, more))}
        for name, shape in few.items():
            if table_of(name) is not None or name not in many:
                continue
            for axis, size in enumerate(shape):
                larger = many[name][axis]
                if size == larger:
                    continue
                if size % rows == 0 and larger * rows == size * (rows + more):
                    found[name, axis] = size // rows
                elif size == rows**2 and larger == (rows + more) ** 2:
                    found[name, axis] = _SQUARE
    return found


def task_axes(config: ModelConfig, make_slots: MakeSlots) -> Axes:
    """Returns the axes of arrays that have one entry for each task.

    They are found by building the model over small tables, and again with one
    more task.
    """
    tasks = config.features.tasks
    (name,) = _unused(config.features, "task", 1)
    few = _small(config)
    many = dataclasses.replace(
        few,
        features=dataclasses.replace(
            few.features, tasks=(*tasks, Task(name, label=name))
        ),
    )
    shapes = {slot.name: slot.shape for slot in make_slots(many)}
    return {
        (slot.name, axis): _TASKS
        for slot in make_slots(few)
        for axis, size in enumerate(slot.shape)
        if size == len(tasks)
        and shapes.get(slot.name, slot.shape)[axis] == size + 1
    }


def _small(config, more=0):
    """Returns the configuration with small tables and `more` features."""
    spec = config.features.as_ids()
    categorical = [
        dataclasses.replace(feature, num_ids=4, vocabulary=None, oov_id=None)
        for feature in spec.categorical
    ]
    categorical += [
        CategoricalFeature(name, 4) for name in _unused(spec, "feature", more)
    ]
    return dataclasses.replace(
        config,
        features=dataclasses.replace(
            spec, categorical=tuple(categorical), group=None
        ),
    )


def _unused(spec, kind, count):
    """Returns names that no column, table or task of a spec has."""
    taken = {*spec.columns, *(task.name for task in spec.tasks)}
    taken |= {feature.table_name for feature in spec.categorical}
    names = (f"{kind}_{number}" for number in itertools.count())
    free = (name for name in names if name not in taken)
    return list(itertools.islice(free, count))
