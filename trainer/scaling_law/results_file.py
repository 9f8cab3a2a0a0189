"""Files of results: the study, searches and runs of ladders, to commit."""

import dataclasses
import math
import typing
from collections.abc import Sequence
from typing import Any

from trainer.scaling_law.records import A_NAME, NAME, Record, Rung
from trainer.tuning import study as studies
from wukong_tf import files
from wukong_tf.config import MODEL_CONFIGS, schema
from wukong_tf.errors import ConfigError, DataError

FORMAT = 1
RESULTS = "results.json"
_OF_SEARCH = (
    "model", "rung", "sizes", "learning_rate", "valid_logloss", "error",
)  # fmt: skip
_ABOVE_0 = (
    "training_flop", "dense_parameters", "rows", "seconds", "logloss",
    "last_window_logloss",
)  # fmt: skip
_MOST = 1e30  # of a number; its squares and powers are finite


def write(
    path: str,
    study: dict[str, Any],
    searches: Sequence[dict[str, Any]],
    runs: Sequence[Record],
) -> None:
    """Writes a file of results, with one record a run and a search."""
    files.write_json(
        path,
        {
            "format": FORMAT,
            "study": study,
            "searches": list(searches),
            "runs": [record.to_dict() for record in runs],
        },
    )


def read(path: str) -> tuple[dict[str, Any], list[dict], list[Record]]:
    """Returns the study, searches and runs of a file of results.

    Raises:
        DataError: it cannot be read or breaks a rule.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = schema.parse_json(file.read(), path)
        _require(path, content, ("format",))
        if content["format"] != FORMAT:
            raise ConfigError(
                f"{path}: `format` must be {FORMAT}; received "
                f"{content['format']!r}."
            )
        _require(path, content, ("study", "searches", "runs"))
        study, searches = content["study"], list(content["searches"])
        _check_study(f"{path}: study", study)
        for search in searches:
            _require(f"{path}: a search", search, _OF_SEARCH)
            _check_search(f"{path}: a search", search)
        runs = [
            _record(f"{path}: run {number}", run, study["rows"])
            for number, run in enumerate(content["runs"])
        ]
    except ConfigError as error:
        raise DataError(str(error)) from error
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        text = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: is not a file of results: {text}.") from error
    return study, searches, runs


def _require(where, content, names):
    """Raises ConfigError unless `content` is an object with some keys."""
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: must be an object; received {content!r}.")
    if lacking := [name for name in names if name not in content]:
        raise ConfigError(f"{where}: lacks {lacking}.")


def _check_study(where, study):
    _require(where, study, ("task", "rows"))
    schema.check_text(where, "task", study["task"])
    schema.check_int(where, "rows", study["rows"], 1)
    for name in ("search_rows", "evaluations"):
        schema.check_int(where, name, study.get(name, 0), 0)
    for rate in study.get("learning_rates", []):
        schema.check_float(where, "learning_rates", rate, above=0)
    for name, flag in study.get("flags", {}).items():
        schema.check_text(where, name, flag)


def _check_search(where, search):
    for name in ("model", "rung"):
        schema.check_text(where, name, search[name])
    schema.check_float(where, "learning_rate", search["learning_rate"], above=0)
    if search["valid_logloss"] is not None:
        schema.check_float(where, "valid_logloss", search["valid_logloss"])


def _record(where, content, rows) -> Record:
    """Returns a record of a file; checks its values."""
    excess = None
    if isinstance(content, dict):
        content = dict(content)
        excess = content.pop("excess", None)
    record = schema.from_dict(Record, content, where)
    for name, kind in typing.get_type_hints(Record).items():
        value = getattr(record, name)
        if kind is str:
            schema.check_text(where, name, value)
        elif typing.get_origin(kind) is dict:
            if not isinstance(value, dict):
                raise ConfigError(
                    f"{where}: `{name}` must be an object; received {value!r}."
                )
        elif kind is int:
            schema.check_int(where, name, value, int(name in _ABOVE_0))
        elif kind is float or (value is not None and name != "curve"):
            above = 0 if name in _ABOVE_0 else None
            schema.check_float(where, name, value, minimum=0, above=above)
        if isinstance(value, int | float) and value > _MOST:
            raise ConfigError(
                f"{where}: `{name}` must be at most {_MOST:g}; received "
                f"{value}."
            )
    _check_record(where, record)
    if record.rows != rows:
        raise ConfigError(
            f"{where}: `rows` must be those of the study, {rows:,}; received "
            f"{record.rows:,}."
        )
    _check_curve(where, record)
    if excess is not None and not (
        isinstance(excess, float)
        and record.excess is not None
        and math.isclose(excess, record.excess, abs_tol=1e-9)
    ):
        raise ConfigError(
            f"{where}: `excess` must be `logloss` less `attainable_logloss`, "
            f"{record.excess}; received {excess}."
        )
    return record


def _check_record(where, record):
    """Raises ConfigError if a value of a record is none that it may have."""
    schema.check_choice(where, "split", record.split, ("test", "valid"))
    schema.check_choice(where, "model", record.model, tuple(MODEL_CONFIGS))
    if not NAME.fullmatch(record.rung):
        raise ConfigError(
            f"{where}: `rung` must be {A_NAME}; received {record.rung!r}."
        )
    if (record.auc or 0.0) > 1:
        raise ConfigError(
            f"{where}: `auc` must be at most 1; received {record.auc}."
        )
    floors = (record.attainable_logloss, record.curve_attainable)
    if (floors[0] is None) != (floors[1] is None):
        raise ConfigError(
            f"{where}: `attainable_logloss` and `curve_attainable` must both "
            f"be known or null; received {floors[0]} and {floors[1]}."
        )


def _check_curve(where, record):
    """Raises ConfigError unless a curve is pairs of rising rows and losses."""
    before = 0
    for pair in record.curve:
        if len(pair) != 2:
            raise ConfigError(
                f"{where}: `curve` must be pairs of rows and LogLoss; received "
                f"{pair!r}."
            )
        rows, loss = pair
        schema.check_float(where, "curve", rows, above=before)
        schema.check_float(where, "curve", loss, minimum=0)
        before = rows
    if before > record.rows:
        raise ConfigError(
            f"{where}: `curve` must end at `rows`, {record.rows}, or before; "
            f"received {before}."
        )


def merged(
    paths: Sequence[str],
) -> tuple[dict[str, Any], list[dict], list[Record]]:
    """Returns the study, searches and runs of several files of results.

    Raises:
        DataError: a file is invalid, the files are of runs that cannot be
            compared, or two have a run with another result.
    """
    study: dict[str, Any] = {}
    rates: set[float] = set()
    searches: list[dict] = []
    runs: dict[tuple, tuple[str, Record]] = {}
    rungs: dict[tuple[str, str], tuple[str, Record]] = {}
    for path in paths:
        other, tries, records = read(path)
        searches += [each for each in tries if each not in searches]
        other.pop("versions", None)
        rates |= {*other.pop("learning_rates", ())}  # more may come later
        study = study or other
        if different := list(studies.changed(study, other)):
            raise DataError(
                f"{path}: its runs cannot be compared with those of "
                f"{paths[0]}; different: {'; '.join(different)}."
            )
        for record in records:
            rung = rungs.setdefault((record.model, record.rung), (path, record))
            _check_same_rung(path, record, *rung)
            first, before = runs.setdefault(record.key, (path, record))
            if before != record:
                raise DataError(
                    f"{path}: has another result of {record}, seed "
                    f"{record.seed}, than {first}."
                )
    if not runs:
        raise DataError(f"{', '.join(paths)}: there are no runs.")
    found = [record for _, record in runs.values()]
    if len(splits := {record.split for record in found}) > 1:
        raise DataError(
            f"{', '.join(paths)}: all runs must be scored on one split; "
            f"received {sorted(splits)}."
        )
    for name in ("attainable_logloss", "curve_attainable"):
        values = {getattr(record, name) for record in found}
        if None in values and len(values) > 1 or not _close(values - {None}):
            raise DataError(
                f"{', '.join(paths)}: `{name}` must be the same of all runs; "
                f"received {sorted(map(str, values))}."
            )
    if rates:
        study["learning_rates"] = sorted(rates)
    return study, searches, found


def _close(values: set[float]) -> bool:
    """Returns whether values are the same but for rounding."""
    return not values or math.isclose(min(values), max(values), rel_tol=1e-6)


def _check_same_rung(path, record, first, other):
    """Raises DataError if a run's rung has other sizes or another rate."""
    names = [field.name for field in dataclasses.fields(Rung)]
    for name in (*names, "learning_rate"):
        values = [getattr(each, name) for each in (record, other)]
        if values[0] != values[1]:
            raise DataError(
                f"{path}: `{name}` of {record}, seed {record.seed}, must "
                f"be that of seed {other.seed} in {first}, {values[1]}; "
                f"received {values[0]}."
            )
