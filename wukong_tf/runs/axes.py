"""Matches the axes of two models' arrays by rows of X_0, tasks and columns.

The axes of rows and tasks are found by building the model over small tables,
and again with more features or tasks.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wukong_tf.config import ModelConfig
from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.config.features import Task
from wukong_tf.names import identifier
from wukong_tf.runs.arrays import NamedArray, table_name
from wukong_tf.runs.views import AVERAGED

MakeSlots = Callable[[ModelConfig], Sequence[NamedArray]]
Axes = dict[tuple[str, int], int | str]
# Labels of an axis with one entry for each task or pair of rows of X_0.
TASKS, SQUARE = "tasks", "square"


def row_labels(config: ModelConfig) -> list[tuple[str, str, int]]:
    """Returns the kind, name and index of each row of X_0."""
    return config.features.rows(getattr(config, "numeric_embeddings", 1))


def row_axes(config: ModelConfig, make_slots: MakeSlots) -> Axes:
    """Returns the axes of arrays that belong to rows of X_0.

    Returns:
        dict of (array, axis) to the numbers that each row has along it, or to
        "square" if the axis has one for each pair of rows.
    """
    rows = len(row_labels(config))
    few = {s.name: s.shape for s in make_slots(small(config, 0))}
    axes: Axes = {}
    # Some arrays exist only if rows in and out differ in number.
    for more in (1, 2):
        many = {s.name: s.shape for s in make_slots(small(config, more))}
        for name, shape in few.items():
            if table_name(name) is not None or name not in many:
                continue
            for axis, size in enumerate(shape):
                larger = many[name][axis]
                if size == larger:
                    continue
                if size % rows == 0 and larger * rows == size * (rows + more):
                    axes[name, axis] = size // rows
                elif size == rows**2 and larger == (rows + more) ** 2:
                    axes[name, axis] = SQUARE
    return axes


def task_axes(config: ModelConfig, make_slots: MakeSlots) -> Axes:
    """Returns the axes of arrays that have one entry for each task."""
    tasks = config.features.tasks
    (name,) = _unused(config.features, "task", 1)
    few = small(config)
    many = dataclasses.replace(
        few,
        features=dataclasses.replace(
            few.features, tasks=(*tasks, Task(name, label=name))
        ),
    )
    shapes = {slot.name: slot.shape for slot in make_slots(many)}
    return {
        (slot.name, axis): TASKS
        for slot in make_slots(few)
        for axis, size in enumerate(slot.shape)
        if size == len(tasks)
        and shapes.get(slot.name, slot.shape)[axis] == size + 1
    }


def small(config, more=0):
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


def matching_indices(name, axes, old, new, old_shape, new_shape):
    """Returns (indices here, indices there) that match, for each axis.

    An unchanged axis has (None, None). Returns None if shapes cannot match.
    """
    if len(old_shape) != len(new_shape):
        return None
    indices: list[tuple[Any, Any]] = []
    for axis, sizes in enumerate(zip(old_shape, new_shape, strict=True)):
        theirs, mine = _labels(name, axis, axes, old, new)
        if mine is None or theirs == mine:
            if sizes[0] != sizes[1]:
                return None
            indices.append((None, None))
            continue
        block = axes.get((name, axis), 1)
        block = 1 if block == TASKS else block
        if block == SQUARE:
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
        indices.append((here, there))
    return indices


def _labels(name, axis, axes, old, new):
    """Returns the labels of an axis, in the other model and in this one."""
    if axes.get((name, axis)) == TASKS:
        return task_names(old), task_names(new)
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


def task_names(config: ModelConfig) -> list[str]:
    """Returns the names of the tasks."""
    return [task.name for task in config.features.tasks]


def _group_columns(config, group):
    """Returns the columns of the concatenation that a group's MLP takes."""
    return [
        (feature.name, column)
        for feature in config.features.categorical
        if feature.embedding_group == group
        for column in range(config.table_width(feature))
    ]
