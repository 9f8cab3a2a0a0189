"""The settings of the trainer: frozen values made from flags, once."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from absl import flags

from trainer.settings import fields
from trainer.settings.data import SPLITS, Data
from trainer.settings.devices import Devices
from trainer.settings.features import Features
from trainer.settings.interactions import Interactions
from trainer.settings.machine import Machine
from trainer.settings.model import Model
from trainer.settings.optimization import FIRST_ORDER_MODELS
from trainer.settings.run import Run
from trainer.settings.training import (
    DTYPES,
    FREE_ON_RESUME,
    Training,
    memory_dtype,
)
from wukong_tf.errors import ConfigError

__all__ = [
    "DTYPES",
    "FIRST_ORDER_MODELS",
    "FREE_ON_RESUME",
    "GROUPS",
    "SECTIONS",
    "SPLITS",
    "Data",
    "Devices",
    "Features",
    "Interactions",
    "Machine",
    "Model",
    "Run",
    "Settings",
    "Training",
    "define",
    "memory_dtype",
]


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of one invocation of the trainer.

    Args:
        given: names of the flags that the user gave. Defaults to none.

    Raises:
        ConfigError: settings contradict each other, named as flags.
    """

    run: Run = Run()
    data: Data = Data()
    interactions: Interactions = Interactions()
    features: Features = Features()
    model: Model = Model()
    training: Training = Training()
    devices: Devices = Devices()
    machine: Machine = Machine()
    given: frozenset[str] = frozenset()

    def __post_init__(self):
        _check_mode(self)
        _check_data(self)
        _check_model(self.model, self.training, self.given)

    @classmethod
    def from_flags(cls, values: flags.FlagValues) -> "Settings":
        """Returns the settings of parsed flags.

        Raises:
            ConfigError: the flags break a rule.
        """
        read: dict[str, Any] = {
            name: fields.from_flags(section, values)
            for name, section in SECTIONS.items()
        }
        given = fields.given(values)
        model = read["model"].model
        read["training"] = read["training"].with_rates_of(model, given)
        return cls(**read, given=given)


SECTIONS: dict[str, type] = {
    "run": Run,
    "data": Data,
    "interactions": Interactions,
    "features": Features,
    "model": Model,
    "training": Training,
    "devices": Devices,
    "machine": Machine,
}


# Functions that define each group of flags, by its title.
GROUPS: dict[str, Callable[[flags.FlagValues], None]] = {
    str(section.__doc__).rstrip("."): functools.partial(fields.define, section)
    for section in SECTIONS.values()
}


def define(values: flags.FlagValues):
    """Defines the trainer's flags."""
    for define_group in GROUPS.values():
        define_group(values)


def _check_mode(settings):
    mode, given = settings.run.mode, settings.given
    if mode != "plan":
        settings.run.directory  # noqa: B018  raises without --run_dir
    for name, modes in (
        ("predict_files", ("predict",)),
        ("output", ("eval", "predict")),
        ("keep_units", ("eval", "predict")),
        ("slices", ("train", "eval")),
        ("on", ("plan",)),
    ):
        if name in given and mode not in modes:
            raise ConfigError(
                f"--{name} contradicts --mode={mode}; it applies only to "
                f"--mode={' or '.join(modes)}."
            )
    if mode == "predict" and not (
        settings.data.predict_files and settings.run.output
    ):
        raise ConfigError("--mode=predict needs --predict_files and --output.")


def _check_data(settings):
    data, given = settings.data, settings.given
    if not data.synthetic:
        for name in sorted(given):
            if name.startswith("synthetic_"):
                raise ConfigError(
                    f"--{name} is given, but --synthetic is not set."
                )
        return
    others = {"synthetic_tasks"}
    if data.synthetic_log == "polynomial":
        others = {field.name for field, _ in fields.settings_of(Interactions)}
    for name in sorted(others & given):
        raise ConfigError(
            f"--{name} contradicts --synthetic_log={data.synthetic_log}; it "
            "applies only to the other log."
        )
    for name in ("data_dir", "features", *(f"{s}_files" for s in SPLITS)):
        if name in given:
            raise ConfigError(
                f"--synthetic contradicts --{name}: the rows come either "
                "from the synthetic log or from files."
            )
    if settings.training.data_lanes > 1:
        raise ConfigError(
            f"--data_lanes={settings.training.data_lanes} contradicts "
            "--synthetic, whose rows each worker generates."
        )


def _check_model(model, training, given):
    if (
        "first_order_learning_rate" in given
        and model.model not in FIRST_ORDER_MODELS
    ):
        raise ConfigError(
            f"--first_order_learning_rate contradicts --model={model.model}; "
            f"it applies only to {' and '.join(FIRST_ORDER_MODELS)}."
        )
    if training.precision == "float64" and (
        model.model != "wukong" or training.lookup != "take"
    ):
        raise ConfigError(
            "--precision=float64 needs --model=wukong and --lookup=take, as "
            "the tables of TensorFlow Recommenders are float32; received "
            f"--model={model.model} and --lookup={training.lookup}."
        )
    if not training.remat:
        return
    if model.model != "wukong":
        raise ConfigError(
            f"--remat contradicts --model={model.model}; it applies only to "
            "Wukong's interaction layers."
        )
    if model.dropout:
        raise ConfigError(
            "--remat needs --dropout=0, as a recomputed layer would draw "
            f"another mask; received --dropout={model.dropout}."
        )
