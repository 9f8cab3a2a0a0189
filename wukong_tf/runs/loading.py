"""Loads the trained model of a run directory."""

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence

from wukong_tf.config import ModelConfig
from wukong_tf.errors import ConfigError, RunError
from wukong_tf.runs.checkpoint import checkpoint_path, find_checkpoint
from wukong_tf.runs.run_directory import read_model_config
from wukong_tf.runs.views import FirstColumns


def load_run(
    run_dir: str,
    checkpoint: str | int = "best",
    *,
    lookup: str = "take",
    dtype: str = "float32",
    keep_units: int | Mapping[str, int] | None = None,
    host_tables: Collection[str] = (),
    sharded_tables: Collection[str] = (),
    map_tables: str | None = None,
):
    """Loads the trained model of a run directory.

    Args:
        run_dir: as given to `trainer.main --run_dir`.
        checkpoint: "best" on the validation rows, "latest", or a step.
        lookup: engine that reads the tables. Defaults to "take", which needs
            only Keras.
        dtype: Keras dtype policy of the dense part. Defaults to "float32",
            whatever the run was trained in.
        keep_units: units to keep of features with several, by feature or one
            number for all; the columns of the others are not loaded, and their
            rows of X_0 are zeros. Defaults to None, all.
        host_tables: names of the tables kept in host memory while the rest is
            on an accelerator. Defaults to (), none.
        sharded_tables: names of the tables of which each worker of the current
            `tf.distribute.MultiWorkerMirroredStrategy` holds a part of the
            rows. All workers must then load and call the model together.
            Defaults to (), none.
        map_tables: directory to write the tables' rows into, a file for each
            width, which TensorFlow maps into memory. So tables may be larger
            than the memory, if TensorFlow was not used before in this process;
            else it copies them, with a warning. They are not trainable, and
            `lookup` is not used. The directory must exist, and hold no files of
            another model. Defaults to None, rows are in memory.

    Returns:
        A `wukong_tf.models.ClickModel`, such as a `Wukong`.

    Raises:
        RunError: the run directory or checkpoint is missing or corrupted.
        ConfigError: `keep_units` names a feature or units that do not exist, or
            `map_tables` cannot be used.

    Example:
        >>> model = wukong_tf.load_run("runs/quickstart")  # doctest: +SKIP
    """
    from wukong_tf.models import build_model
    from wukong_tf.runs.arrays import assign_slots, model_slots

    config = check_run(run_dir, checkpoint, keep_units=keep_units)
    arrays = find_checkpoint(run_dir, checkpoint)
    mapped = None
    if map_tables is not None:
        mapped = _mapped(map_tables, [*host_tables, *sharded_tables])
    model = build_model(
        config,
        lookup=mapped or lookup,
        dtype=dtype,
        host_tables=host_tables,
        sharded_tables=sharded_tables,
    )
    slots = model_slots(model)
    cut = {
        f"tables/{f.table_name}"
        for f in config.features.categorical
        if f.kept_units < f.units
    }
    widths = {s.name: s.shape[1] for s in slots if s.name in cut}
    assign_slots(slots, FirstColumns(arrays, widths))
    if mapped is not None:
        mapped.map()
    return model


def _mapped(folder: str, elsewhere: Sequence[str]):
    """Returns the lookup of tables in files of a directory.

    Raises:
        ConfigError: the directory does not exist, tables are to be elsewhere,
            or Keras is not on TensorFlow.
    """
    import keras

    if not os.path.isdir(folder):
        raise ConfigError(f"map_tables={folder!r}: is not a directory.")
    if elsewhere:
        raise ConfigError(
            f"map_tables={folder!r}: tables {sorted(elsewhere)} cannot be on "
            "the host or sharded as well; all are mapped."
        )
    if (backend := keras.backend.backend()) != "tensorflow":
        raise ConfigError(
            "`map_tables` needs Keras on TensorFlow; KERAS_BACKEND chose "
            f"{backend!r}."
        )
    from wukong_tf.embeddings import mapped_tables

    mapped_tables.evaluate_no_constants()
    return mapped_tables.MappedLookup(folder)


def check_run(
    run_dir: str,
    checkpoint: str | int = "best",
    *,
    keep_units: int | Mapping[str, int] | None = None,
) -> ModelConfig:
    """Returns the configuration of the model that `load_run` would load.

    No array is read, and TensorFlow is not needed. Args and errors are those
    of `load_run`; a corrupted checkpoint is not noticed.
    """
    if not os.path.isdir(run_dir):
        raise RunError(f"{run_dir}: there is no such run.")
    checkpoint_path(run_dir, checkpoint)
    config = read_model_config(run_dir)
    if keep_units is None:
        return config
    features = config.features.cut(keep_units)
    return dataclasses.replace(config, features=features)


def parse_keep_units(texts: Sequence[str]) -> int | dict[str, int] | None:
    """Parses the flag `--keep_units` for `load_run`.

    Args:
        texts: one number, or "FEATURE:NUMBER" each; empty for all units.

    Raises:
        ConfigError: a text is neither, or a feature repeats.
    """
    if not texts:
        return None
    try:
        if len(texts) == 1 and ":" not in texts[0]:
            return int(texts[0])
        pairs = [text.rsplit(":", 1) for text in texts]
        units = {name: int(number) for name, number in pairs}
    except ValueError as error:
        raise ConfigError(
            "--keep_units must be one number, or FEATURE:NUMBER for each "
            f"feature to cut; received {','.join(texts)!r}."
        ) from error
    if len(units) < len(pairs):
        raise ConfigError(
            "--keep_units must name each feature once; received "
            f"{','.join(texts)!r}."
        )
    return units
