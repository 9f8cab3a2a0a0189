"""The flags of one run as a checked, frozen value."""

import dataclasses
import glob
import os
import re
from typing import Any

from absl import flags

from trainer.flags import FIRST_ORDER_RATE, SIZES
from wukong_tf.config import (
    MODEL_CONFIGS,
    FeatureSpec,
    ModelConfig,
    TableSettings,
    WukongConfig,
)
from wukong_tf.errors import ConfigError, DataError
from wukong_tf.scaling import preset

# Flags that say how long to train or what to keep, not what is trained: a
# run may go on under other values of them.
FREE_ON_RESUME = (
    "epochs",
    "max_steps",
    "steps_per_loop",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "keep_checkpoint_every_steps",
    "patience",
)
TRAINING = (
    "batch_size",
    "learning_rate",
    "table_learning_rate",
    "embedding_l2",
    "embedding_l2_scope",
    "warmup_steps",
    "clipnorm",
    "average_weights",
    "seed",
    "eval_batch_size",
    "eval_every_steps",
    "eval",
    "progressive_window_rows",
    "early_stopping_metric",
    "early_stopping_task",
    "shuffle_rows",
    "data_lanes",
    "lookup",
    "precision",
    "remat",
    "jit_compile",
    "deterministic",
    *FREE_ON_RESUME,
)
FIRST_ORDER_MODELS = ("logistic_regression", "fm")
# Keras's names of what --precision says.
DTYPES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float64": "float64",
}


def counted_dtype(precision: str) -> str:
    """The dtype policy that bytes are counted for."""
    return DTYPES["float32" if precision == "float64" else precision]


SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Training:
    """How to train, named and described as the flags are."""

    batch_size: int
    learning_rate: float
    table_learning_rate: float
    embedding_l2: float
    embedding_l2_scope: str
    warmup_steps: int
    clipnorm: float
    average_weights: float
    seed: int
    eval_batch_size: int
    eval_every_steps: int
    eval: str
    progressive_window_rows: int
    early_stopping_metric: str
    early_stopping_task: str
    shuffle_rows: int
    data_lanes: int
    lookup: str
    precision: str
    remat: bool
    jit_compile: bool
    deterministic: bool
    epochs: int
    max_steps: int
    steps_per_loop: int
    checkpoint_every_steps: int
    keep_checkpoints: int
    keep_checkpoint_every_steps: int
    patience: int
    first_order_learning_rate: float = FIRST_ORDER_RATE
    first_order_table_learning_rate: float = 4 * FIRST_ORDER_RATE

    def __post_init__(self):
        for name in (
            "learning_rate",
            "table_learning_rate",
            "first_order_learning_rate",
        ):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"--{name} must be above 0; received {getattr(self, name)}."
                )
        if self.eval == "progressive" and self.epochs > 1:
            raise ConfigError(
                "--eval=progressive scores each row before it is trained on, "
                f"which is one pass: --epochs must be 1; received "
                f"{self.epochs}."
            )
        if self.data_lanes > 1:
            if self.eval == "progressive":
                raise ConfigError(
                    "--eval=progressive takes rows in the order of the files, "
                    "which is one lane: --data_lanes must be 1; received "
                    f"{self.data_lanes}."
                )
            if self.batch_size % self.data_lanes:
                raise ConfigError(
                    "--batch_size must be a multiple of --data_lanes; "
                    f"received {self.batch_size} and {self.data_lanes}."
                )
        if not 0 <= self.average_weights < 1:
            raise ConfigError(
                "--average_weights must be in [0, 1); received "
                f"{self.average_weights}."
            )
        for name in ("embedding_l2", "clipnorm"):
            if not getattr(self, name) >= 0:
                raise ConfigError(
                    f"--{name} must be at least 0; received "
                    f"{getattr(self, name)}."
                )


def training_from_flags(values: flags.FlagValues) -> Training:
    """The training part of the flags."""
    settings: dict[str, Any] = {name: values[name].value for name in TRAINING}
    rate = values.first_order_learning_rate
    for name, factor in (("learning_rate", 1), ("table_learning_rate", 4)):
        if rate is not None:
            settings[f"first_order_{name}"] = factor * rate
        elif values.model == "logistic_regression" and values[name].present:
            settings[f"first_order_{name}"] = values[name].value
    return Training(**settings)


def check_flags(values: flags.FlagValues):
    """Refuses flags that contradict each other.

    Raises:
        ConfigError: naming the flags.
    """
    if values.mode != "plan" and not values.run_dir:
        raise ConfigError(f"--mode={values.mode} needs --run_dir.")
    files = ["data_dir", "features", *(f"{split}_files" for split in SPLITS)]
    given = [name for name in files if values[name].present]
    if values.synthetic and given:
        raise ConfigError(
            f"--synthetic contradicts --{given[0]}: the rows come either "
            "from the synthetic log or from files."
        )
    if values.synthetic and values.data_lanes > 1:
        raise ConfigError(
            f"--data_lanes={values.data_lanes} contradicts --synthetic, whose "
            "rows are made where they are used."
        )
    if not values.synthetic:
        _refuse(values, "--synthetic is not set", "synthetic_")
    for name, modes in (
        ("predict_files", ("predict",)),
        ("output", ("eval", "predict")),
        ("keep_units", ("eval", "predict")),
    ):
        if values[name].present and values.mode not in modes:
            raise ConfigError(
                f"--{name} contradicts --mode={values.mode}; it belongs to "
                f"--mode={' or '.join(modes)}."
            )
    if values.mode == "predict" and not (
        values.predict_files and values.output
    ):
        raise ConfigError("--mode=predict needs --predict_files and --output.")
    if (
        values["first_order_learning_rate"].present
        and values.model not in FIRST_ORDER_MODELS
    ):
        raise ConfigError(
            f"--first_order_learning_rate contradicts --model={values.model}, "
            f"which has no such weights; {' and '.join(FIRST_ORDER_MODELS)} "
            "have."
        )
    if values.precision == "float64" and (
        values.model != "wukong" or values.lookup != "take"
    ):
        raise ConfigError(
            "--precision=float64 needs --model=wukong and --lookup=take, as "
            "the tables of TensorFlow Recommenders are float32; received "
            f"--model={values.model} and --lookup={values.lookup}."
        )
    if values.remat and values.model != "wukong":
        raise ConfigError(
            f"--remat contradicts --model={values.model}; it belongs to "
            "Wukong's interaction layers."
        )


def _refuse(values, why, prefix):
    for name in values:
        if name.startswith(prefix) and values[name].present:
            raise ConfigError(f"--{name} is given, but {why}.")


def model_from_flags(
    values: flags.FlagValues, features: FeatureSpec
) -> ModelConfig:
    """The model that the flags describe, over `features`.

    Raises:
        ConfigError: a flag is no size of the model, or the sizes break a
            rule.
    """
    cls = MODEL_CONFIGS[values.model]
    own = {field.name for field in dataclasses.fields(cls)}
    sizes: dict[str, Any] = {}
    if values.preset is not None:
        if values.model != "wukong":
            raise ConfigError(
                f"--preset={values.preset} contradicts --model="
                f"{values.model}; presets are sizes of Wukong."
            )
        sizes |= preset(values.preset).sizes
    for name in SIZES:
        value = values[name].value
        if value is None:
            continue
        if name not in own:
            raise ConfigError(
                f"--{name} contradicts --model={values.model}, which has no "
                "such size."
            )
        sizes[name] = _size(name, value)
    if values.remat and sizes.get("dropout"):
        raise ConfigError(
            "--remat needs --dropout=0, as a layer computed again would draw "
            f"another mask; received --dropout={sizes['dropout']}."
        )
    try:
        config = cls(features, **sizes)
        if isinstance(config, WukongConfig):
            config.check_ranks()
    except ConfigError as error:
        raise ConfigError(_naming_flags(str(error), values)) from error
    return config


def _naming_flags(text, values):
    """An error of a configuration, by the flags that its fields come from."""
    named = re.sub(
        r"`(\w+)`", lambda m: f"--{m[1]}" if m[1] in SIZES else m[0], text
    )
    if values.preset is not None:
        named += (
            f" Sizes that no flag gives are those of --preset={values.preset}."
        )
    return named


def describe_sizes(values: flags.FlagValues, config: ModelConfig) -> list[str]:
    """Returns lines on the model's sizes: those given, and those chosen."""
    given: list[str] = []
    chosen: list[str] = []
    of_preset = {} if values.preset is None else preset(values.preset).sizes
    for name in SIZES:
        if not hasattr(config, name):
            continue
        text = f"{name}={_size_text(getattr(config, name))}"
        is_given = values[name].value is not None or name in of_preset
        (given if is_given else chosen).append(text)
    lines = []
    if given:
        source = f" (--preset={values.preset})" if of_preset else ""
        lines.append(f"sizes given{source}: {' '.join(given)}")
    if chosen:
        count = getattr(config, "num_embeddings", None)
        what = "" if count is None else f" for {count} embeddings"
        lines.append(f"sizes chosen{what}: {' '.join(chosen)}")
    return lines


def _size_text(value):
    """A size as its flag takes it."""
    if not isinstance(value, tuple):
        return str(value)
    nested = any(isinstance(item, tuple) for item in value)
    return ("/" if nested else ",").join(map(_size_text, value))


def _size(name, value):
    """What a flag of a size says, as the configuration's field has it."""
    if name in ("num_fmb", "num_lcb", "rank"):
        numbers = _integers(name, value)
        return numbers[0] if len(numbers) == 1 else numbers
    if name == "mlp_units":
        layers = ",".join(value).split("/")
        units = tuple(_integers(name, layer.split(",")) for layer in layers)
        return units[0] if len(units) == 1 else units
    if name == "remove":
        return tuple(value)
    return _integers(name, value) if isinstance(value, list) else value


def _integers(name, texts):
    try:
        return tuple(int(text) for text in texts if text != "")
    except ValueError as error:
        raise ConfigError(
            f"--{name} must hold integers; received {','.join(texts)!r}."
        ) from error


def features_from_flags(values: flags.FlagValues) -> FeatureSpec:
    """The feature spec that --features or --data_dir points at."""
    path = values.features
    if path is None:
        if values.data_dir is None:
            raise ConfigError(
                "no data: give --data_dir, or --features and --train_files, "
                "or --synthetic."
            )
        path = os.path.join(values.data_dir, "features.json")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"feature spec {path}: {error}.") from error
    return FeatureSpec.from_json(text, path)


def with_overrides(
    values: flags.FlagValues, features: FeatureSpec
) -> FeatureSpec:
    """The feature spec with what --units and flags like it say instead."""
    units = _pairs("units", values.units, int)
    rates = _pairs("negative_rate", values.negative_rate, float, alone=True)
    for flag, named, known in (
        ("units", units, [f.name for f in features.categorical]),
        ("negative_rate", rates, [task.name for task in features.tasks]),
    ):
        for name in named:
            if name not in (*known, ""):
                raise ConfigError(
                    f"--{flag} must name some of {known}; received {name!r}."
                )
    categorical = []
    for feature in features.categorical:
        count = units.get(feature.name, feature.units)
        dropout = feature.unit_dropout if count > 1 else 0.0
        if values.unit_dropout is not None and count > 1:
            dropout = values.unit_dropout
        categorical.append(
            dataclasses.replace(feature, units=count, unit_dropout=dropout)
        )
    if values.unit_dropout and not any(f.units > 1 for f in categorical):
        raise ConfigError(
            f"--unit_dropout={values.unit_dropout} needs a feature with "
            "several units; there is none."
        )
    tasks = []
    for task in features.tasks:
        rate = rates.get(task.name, rates.get("", task.negative_rate))
        tasks.append(dataclasses.replace(task, negative_rate=rate))
    if "" in rates and len(tasks) > 1:
        raise ConfigError(
            "--negative_rate must be TASK:NUMBER where there are several "
            f"tasks, {[task.name for task in tasks]}; received "
            f"{values.negative_rate}."
        )
    return dataclasses.replace(
        features,
        categorical=tuple(categorical),
        tasks=tuple(tasks),
        tables=_table_settings(values, features),
    )


def _table_settings(values, features):
    """The settings of tables, with what flags say instead."""
    found = {table.name: table for table in features.tables}
    tables = [feature.table_name for feature in features.categorical]
    for flag, field in (
        ("table_initial_scales", "initial_scale"),
        ("table_learning_rates", "learning_rate"),
        ("table_l2s", "l2"),
    ):
        for name, number in _pairs(flag, values[flag].value, float).items():
            if name not in tables:
                raise ConfigError(
                    f"--{flag} must name some of the tables "
                    f"{sorted(set(tables))}; received {name!r}."
                )
            found[name] = dataclasses.replace(
                found.get(name, TableSettings(name)), **{field: number}
            )
    return tuple(found.values())


def _pairs(flag, texts, kind, alone=False):
    """{"NAME": number} of NAME:NUMBER,...; {"": number} of a number alone."""
    found = {}
    for text in texts:
        name, colon, number = text.rpartition(":")
        try:
            value = kind(number)
        except ValueError:
            value = None
        if value is None or name in found or not (colon or alone):
            form = f"NAME:{kind.__name__.upper()}"
            raise ConfigError(
                f"--{flag} must hold {form} for each name once; received "
                f"{','.join(texts)!r}."
            )
        found[name] = value
    return found


def columns_of(features: FeatureSpec) -> FeatureSpec:
    """The spec without what says how its columns are learned from."""
    return dataclasses.replace(
        features,
        categorical=tuple(
            dataclasses.replace(
                feature, units=1, unit_dropout=0.0, keep_units=None
            )
            for feature in features.categorical
        ),
        tasks=tuple(
            dataclasses.replace(task, negative_rate=1.0, loss_weight=1.0)
            for task in features.tasks
        ),
        tables=(),
    )


def files_of_split(values: flags.FlagValues, split: str) -> list[str]:
    """The paths or globs of a split; empty where the run has none of it."""
    given = values[f"{split}_files"].value
    if given:
        return list(given)
    if values.data_dir is None:
        return []
    for ending in ("parquet", "tfrecord"):
        pattern = os.path.join(values.data_dir, f"{split}*.{ending}")
        if glob.glob(pattern):
            return [pattern]
    return []
