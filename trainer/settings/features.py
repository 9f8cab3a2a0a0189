"""Settings that override parts of the feature spec."""

import dataclasses
from collections.abc import Callable, Sequence

from trainer.settings.fields import Settings, setting
from wukong_tf.config import FeatureSpec, TableSettings
from wukong_tf.errors import ConfigError

_TABLES = "{} of some tables, TABLE:NUMBER,...; overrides the feature spec."


@dataclasses.dataclass(frozen=True)
class Features(Settings):
    """Features, tables and tasks."""

    units: tuple[str, ...] = setting(
        (),
        "Units of categorical features, FEATURE:NUMBER,...; overrides the "
        "feature spec. An important feature may have several embeddings, "
        "each a row of X_0.",
    )
    unit_dropout: float | None = setting(
        None,
        "Share of training steps in which a feature with several units keeps "
        "only the first few; overrides the feature spec for all such "
        "features. It trains a model whose units --keep_units can reduce.",
    )
    table_initial_scales: tuple[str, ...] = setting(
        (), _TABLES.format("Initial scale")
    )
    table_learning_rates: tuple[str, ...] = setting(
        (), _TABLES.format("Learning rate")
    )
    table_l2s: tuple[str, ...] = setting((), _TABLES.format("Weight decay"))
    negative_rate: tuple[str, ...] = setting(
        (),
        "Sampling rate of the negatives in the log: one number, or "
        "TASK:NUMBER for each of several tasks; overrides the feature spec. "
        "Below 1, log(rate) is added to the served logits, and metrics "
        "weight a negative row by 1 / rate.",
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ("units", *_TABLE_FIELDS):
            kind = int if name == "units" else float
            _numbers_by_name(name, getattr(self, name), kind)
        _numbers_by_name(
            "negative_rate", self.negative_rate, float, one_for_all=True
        )

    def applied_to(self, spec: FeatureSpec) -> FeatureSpec:
        """Returns the spec with these settings applied.

        Raises:
            ConfigError: a name is not one of the spec's, or a number is
                invalid.
        """
        units = _numbers_by_name(
            "units", self.units, int, [f.name for f in spec.categorical]
        )
        rates = _numbers_by_name(
            "negative_rate",
            self.negative_rate,
            float,
            [task.name for task in spec.tasks],
            one_for_all=True,
        )
        if "" in rates and len(spec.tasks) > 1:
            raise ConfigError(
                "--negative_rate must be TASK:NUMBER if there are several "
                f"tasks, {[task.name for task in spec.tasks]}; received "
                f"{','.join(self.negative_rate)}."
            )
        categorical = []
        for feature in spec.categorical:
            count = units.get(feature.name, feature.units)
            dropout = feature.unit_dropout if count > 1 else 0.0
            if self.unit_dropout is not None and count > 1:
                dropout = self.unit_dropout
            categorical.append(
                dataclasses.replace(feature, units=count, unit_dropout=dropout)
            )
        if self.unit_dropout and not any(f.units > 1 for f in categorical):
            raise ConfigError(
                f"--unit_dropout={self.unit_dropout} needs a feature with "
                "several units; there is none."
            )
        tasks = []
        for task in spec.tasks:
            rate = rates.get(task.name, rates.get("", task.negative_rate))
            tasks.append(dataclasses.replace(task, negative_rate=rate))
        return dataclasses.replace(
            spec,
            categorical=tuple(categorical),
            tasks=tuple(tasks),
            tables=self._tables(spec),
        )

    def _tables(self, spec):
        settings = {table.name: table for table in spec.tables}
        names = sorted({feature.table_name for feature in spec.categorical})
        for flag, field in _TABLE_FIELDS.items():
            numbers = _numbers_by_name(
                flag, getattr(self, flag), float, names, what="the tables "
            )
            for name, number in numbers.items():
                settings[name] = dataclasses.replace(
                    settings.get(name, TableSettings(name)), **{field: number}
                )
        return tuple(settings.values())


_TABLE_FIELDS = {
    "table_initial_scales": "initial_scale",
    "table_learning_rates": "learning_rate",
    "table_l2s": "l2",
}


def _numbers_by_name(
    flag: str,
    texts: Sequence[str],
    kind: Callable,
    known: Sequence[str] | None = None,
    one_for_all: bool = False,
    what: str = "",
) -> dict:
    """Parses NAME:NUMBER,... to {"NAME": number}; one for all has key ""."""
    numbers: dict = {}
    for text in texts:
        name, colon, number = text.rpartition(":")
        try:
            value = kind(number)
        except ValueError:
            value = None
        if value is None or name in numbers or not (colon or one_for_all):
            form = f"NAME:{kind.__name__.upper()}"
            raise ConfigError(
                f"--{flag} must hold {form} for each name once; received "
                f"{','.join(texts)!r}."
            )
        if known is not None and name not in (*known, *[""] * one_for_all):
            raise ConfigError(
                f"--{flag} must name some of {what}{list(known)}; received "
                f"{name!r}."
            )
        numbers[name] = value
    return numbers
