"""Starts a model from another's weights if features or tables changed.

Rows of tables are mapped by the meaning of their ids, and the parameters that
belong to rows of X_0 by the features of these rows. Parameters without a
counterpart keep their initial values.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wukong_tf.config import FeatureSpec, ModelConfig
from wukong_tf.config.categorical_feature import OOV_ID, CategoricalFeature
from wukong_tf.embeddings import table_rows
from wukong_tf.errors import RunError
from wukong_tf.runs.arrays import (
    TABLES,
    NamedArray,
    StoredRows,
    table_name,
    under_current_names,
    write_slot,
)
from wukong_tf.runs.axes import (
    MakeSlots,
    matching_indices,
    row_axes,
    small,
    task_axes,
    task_names,
)


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
    arrays = under_current_names(arrays, make_slots(small(old)))
    rows_of = {
        name: _old_rows(old.features, new.features, name)
        for name in {f.table_name for f in new.features.categorical}
    }
    axes = row_axes(new, make_slots)
    if task_names(old) != task_names(new):
        axes |= task_axes(new, make_slots)
    for slot in slots:
        table = table_name(slot.name)
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
        table = table_name(name)
        if table is None:
            report.dropped.append(name)
        elif name.startswith(TABLES[0]):
            report.tables[table] = (0, 0, len(arrays[name]))
    if not report.matched and not any(m for m, _, _ in report.tables.values()):
        raise RunError(
            "the two models have nothing in common: no table has the same "
            "width and no other array the same shape."
        )
    return report


def _old_rows(old: FeatureSpec, new: FeatureSpec, table: str) -> np.ndarray:
    """Returns the other model's row for each row of a table, or -1; int64."""
    mine, theirs = _first(new, table), _first(old, table)
    rows = np.full(mine.num_ids, -1, np.int64)
    if theirs is None:
        return rows
    here, there = new.vocabulary(table), old.vocabulary(table)
    hashed = mine.raw is not None and mine.boundaries is None
    if here is not None and there is not None:
        rows[:OOV_ID] = np.arange(OOV_ID)
        if mine.oov_buckets == theirs.oov_buckets:
            rows[OOV_ID : mine.first_id] = np.arange(OOV_ID, mine.first_id)
        places = {word: theirs.first_id + i for i, word in enumerate(there)}
        words = [places.get(word, -1) for word in here]
        rows[mine.first_id : mine.first_id + len(words)] = words
    elif (
        here != there
        or mine.boundaries != theirs.boundaries
        or (hashed and mine.num_ids != theirs.num_ids)
    ):
        rows[:OOV_ID] = np.arange(OOV_ID)  # the other ids differ in meaning
    else:
        # Ids mean the same in both models, up to the smaller table.
        both = min(mine.num_ids, theirs.num_ids)
        rows[:both] = np.arange(both)
    return rows


def _first(spec, table) -> CategoricalFeature | Any:
    """Returns a table's feature, one with its vocabulary if any states it."""
    features = [f for f in spec.categorical if f.table_name == table]
    stated = [f for f in features if f.vocabulary is not None]
    return next(iter(stated or features), None)


def _carry_table(slot, table, rows, array, columns, report):
    """Carries over rows of a table or of its optimizer slots.

    `rows` has the array's row for each row of the table, or -1; `columns` the
    matching columns here and there, or None if the array does not fit.
    """
    if array is None or columns is None:
        if slot.name.startswith(TABLES[0]):
            dropped = 0 if array is None else len(array)
            report.tables[table] = (0, slot.shape[0], dropped)
        return
    first = slot.rows[0]
    here, there = columns

    def values(start, stop):
        block = np.array(
            table_rows.read(slot.variable, first + start, first + stop)
        )
        old = rows[start:stop]
        matched = block[old >= 0]
        matched[here] = array[old[old >= 0]][there]
        block[old >= 0] = matched
        return block

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
    places = matching_indices(slot.name, axes, old, new, shape, slot.shape)
    if places is None:
        return None
    every = (slice(None), slice(None))
    pairs = [every if here is None else (here, there) for here, there in places]
    here, there = zip(every, *pairs[1:], strict=True)
    return here, there


def _carry_array(slot, old, new, arrays, axes, report):
    array = arrays.get(slot.name)
    if array is None:
        report.new.append(slot.name)
        return
    value = np.array(np.asarray(StoredRows(slot)))
    places = matching_indices(
        slot.name, axes, old, new, array.shape, value.shape
    )
    if places is None:
        report.new.append(slot.name)
        report.dropped.append(slot.name)
        return
    if all(here is None for here, _ in places):
        write_slot(slot, array)
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
    write_slot(slot, value)
    report.mapped.append(slot.name)
