"""Scores files with a published version: `python -m export.score --help`.

For each file of --input, a Parquet file of the same name is written to
--output, with the scores of its rows in the same order. An output file that
already exists for the same version and input is kept, so an interrupted run
resumes. An error in one file is reported, and the other files are scored.
Exit codes: 0 all files are scored; 1 a fault in the program; 2 the flags, the
version or the data break a rule; 130 interrupted.
"""

import dataclasses
import functools
import json
import os
import sys
import time
from typing import Literal

from absl import flags

from export import program
from export.version import publish
from trainer.settings import fields
from trainer.settings.fields import Settings, setting
from wukong_tf.errors import DataError, ExportError, WukongError

TEXTS = (".csv", ".tsv", ".txt")


@dataclasses.dataclass(frozen=True)
class Score(Settings):
    """Scoring."""

    model: str = setting(
        None, "Directory of a published version. Required.", needed=True
    )
    input: tuple[str, ...] = setting(
        (),
        "Files or globs, comma-separated: Parquet, or a raw log as CSV or "
        "Parquet if the version contains the recipe of its data. Required.",
        needed=True,
    )
    output: str = setting(
        None,
        "Directory of the scores; created if missing. Required.",
        needed=True,
    )
    engine: Literal["auto", "onnx", "saved_model"] = setting(
        "auto", "Runtime that computes scores; all give the same ones."
    )
    verify: bool = setting(
        True,
        "Whether to compare the version's files with the SHA-256 in its "
        "manifest before loading it. Disable it only if they are verified "
        "elsewhere.",
    )
    keep_columns: tuple[str, ...] = setting(
        (), "Columns of the input to write next to the scores, such as keys."
    )
    batch_size: int = setting(4096, "Rows per computation.", minimum=1)
    threads: int | None = setting(
        None, "Threads per computation. Default: all processors.", minimum=1
    )


define = functools.partial(fields.define, Score)


def run(argv, values: flags.FlagValues) -> int:
    """Scores the files that the flags name; returns the exit code."""
    return program.exit_code(
        argv,
        lambda: score(fields.from_flags(Score, values)),
        "interrupted; the same command resumes with the files that are not "
        "scored",
    )


def score(settings: Score):
    """Scores files, each into a file of the same name.

    Raises:
        ExportError: if there is no version, one of its files has changed, two
            files share a name, or a score cannot be written.
        DataError: if a file does not match the features; the message names
            file, row and column. The other files are scored first.
    """
    from export.version import published
    from trainer.data.paths import expand

    output = settings.output
    paths = expand(settings.input)
    _check_targets(paths, output)
    version = published.read(settings.model)
    _check_columns(version.columns, settings.keep_columns)
    if settings.verify:
        version.verify()
    # Loads TensorFlow.
    from export.version.scorer import Scorer

    scorer = Scorer(
        version, settings.engine, settings.batch_size, settings.threads
    )
    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"--output={output} cannot be written: {error}."
        ) from error
    with publish.locked(output, "another run of this program"):
        _score_files(scorer, paths, output, list(settings.keep_columns))


def _score_files(scorer, paths, output, keep):
    rows, seconds, skipped = 0, 0.0, 0
    errors: list[WukongError] = []
    for path in paths:
        began = time.perf_counter()
        try:
            count = _score_one(scorer, path, output, keep)
        except (DataError, ExportError) as error:
            errors.append(error)
            if len(paths) > 1:
                print(f"error: {error}", file=sys.stderr, flush=True)
            continue
        if count is None:
            skipped += 1
            continue
        elapsed = time.perf_counter() - began
        rows, seconds = rows + count, seconds + elapsed
        target, speed = _target(path, output), count / elapsed
        print(f"{target}: {count:,} rows, {speed:,.0f} rows/s", flush=True)
    done = len(paths) - skipped - len(errors)
    _print_totals(done, skipped, rows, seconds, scorer.engine.name)
    if len(paths) == 1 and errors:
        raise errors[0]
    if errors:
        raise DataError(
            f"{len(errors)} of {len(paths)} files could not be scored."
        )


def _print_totals(done, skipped, rows, seconds, engine):
    if skipped:
        print(f"{skipped} files were already scored")
    rate = f", {rows / seconds:,.0f} rows/s" if rows else ""
    print(f"{done} files, {rows:,} rows in {seconds:.1f} s{rate} ({engine})")


def _check_targets(paths, output):
    """Raises ExportError if scores would overwrite each other or an input."""
    names: dict[str, str] = {}
    for path in paths:
        other = names.setdefault(_name(path), path)
        if other != path:
            raise ExportError(
                f"--input: the scores of {other} and {path} would have the "
                "same file name; use different output directories."
            )
        if os.path.dirname(os.path.realpath(path)) == os.path.realpath(output):
            raise ExportError(
                f"--output={output}: contains the input {path}, which its "
                "scores would replace."
            )


def _check_columns(outputs, keep):
    """Raises ExportError if a column would appear twice in the scores."""
    for name in keep:
        if [*outputs, *keep].count(name) > 1:
            raise ExportError(
                f"--keep_columns: the scores would have two columns {name!r}; "
                f"their own are {', '.join(outputs)}."
            )


def _score_one(scorer, path, output, keep) -> int | None:
    """Returns the number of rows scored, or None if the scores exist."""
    target = _target(path, output)
    about = scorer.about(path, keep)
    if _is_scored(target, about):
        return None
    return scorer.write(path, target, keep, about)


def _target(path: str, output: str) -> str:
    """Returns the path of a file's scores."""
    return os.path.join(output, _name(path))


def _name(path: str) -> str:
    """Returns the file name of a file's scores."""
    name = os.path.basename(path)
    if name.endswith(".parquet"):
        return name
    stem, ending = os.path.splitext(name.removesuffix(".gz"))
    return f"{stem if ending in TEXTS else name}.parquet"


def _is_scored(target: str, about: dict) -> bool:
    """Returns whether `target` already holds the scores that `about` names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from export.version.scorer import KEY

    try:
        metadata = pq.read_schema(target).metadata or {}
    except FileNotFoundError:
        return False
    except (OSError, pa.ArrowException) as error:
        raise ExportError(
            f"{target}: exists and is not a Parquet file: {error}. Remove it."
        ) from error
    if KEY not in metadata:
        raise ExportError(
            f"{target}: exists and was not written by this program. Remove it, "
            "or choose another --output."
        )
    return json.loads(metadata[KEY]) == about


def main():
    """Runs the command `wukong-score`."""
    program.start(__doc__, define, run)


if __name__ == "__main__":
    main()
