"""The same model and rows under other names and in other orders."""

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

from tests.properties.logs import Row
from wukong_tf.config import FeatureSpec, ModelConfig


@dataclasses.dataclass(frozen=True)
class Change:
    """What is called otherwise, and in which order it all stands.

    Args:
        names: new names by old ones, of columns, tables, groups and tasks;
            those that are not there stay.
        seed: of the orders.
    """

    names: Mapping[str, str]
    seed: int

    def renamed(self, config: ModelConfig) -> ModelConfig:
        """The configuration under the new names, in the order it has."""
        spec = config.features
        fields = ("name", "table", "weights", "embedding_group", "label")
        parts: dict[str, Any] = {}
        for kind in (
            "categorical",
            "numeric",
            "vector",
            "tasks",
            "embedding_groups",
        ):
            parts[kind] = tuple(
                dataclasses.replace(
                    each,
                    **{
                        field: self._name(getattr(each, field))
                        for field in fields
                        if hasattr(each, field)
                    },
                )
                for each in getattr(spec, kind)
            )
        return dataclasses.replace(
            config, features=dataclasses.replace(spec, **parts)
        )

    def _name(self, name):
        return self.names.get(name, name)

    def reordered(self, config: ModelConfig) -> ModelConfig:
        """The configuration with all that has an order in another."""
        generator = random.Random(self.seed)
        spec = config.features
        parts: dict[str, Any] = {
            kind: _shuffled(generator, getattr(spec, kind))
            for kind in (
                "numeric",
                "vector",
                "tasks",
                "embedding_groups",
            )
        }
        features = _shuffled(generator, spec.categorical)
        parts["categorical"] = tuple(
            dataclasses.replace(
                each, vocabulary=_shuffled(generator, each.vocabulary)
            )
            if each.vocabulary
            else each
            for each in features
        )
        return dataclasses.replace(
            config, features=dataclasses.replace(spec, **parts)
        )

    def rows(self, rows: list[Row]) -> tuple[list[Row], list[int]]:
        """The rows under the new names, in another order, and that order."""
        order = list(range(len(rows)))
        random.Random(self.seed).shuffle(order)
        return [
            {self._name(name): value for name, value in rows[place].items()}
            for place in order
        ], order


def all_names(spec: FeatureSpec) -> list[str]:
    """Every name that a spec holds, each once."""
    found = [*spec.columns]
    found += [task.name for task in spec.tasks]
    found += [group.name for group in spec.embedding_groups]
    found += [feature.table_name for feature in spec.categorical]
    return list(dict.fromkeys(found))


def _shuffled(generator, values):
    return tuple(generator.sample(values, len(values)))
