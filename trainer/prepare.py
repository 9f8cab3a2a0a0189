"""Turns a data set into Parquet: `python -m trainer.prepare --help`.

Exit codes: 0 done; 1 a fault in the program; 2 the flags or the files break
a rule; 130 interrupted, and the same command goes on.
"""

import contextlib
import dataclasses
import fcntl
import glob
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator

import pyarrow as pa
from absl import app
from absl import flags as absl_flags

from trainer.preparation import datasets, inference, job, runners, shards
from trainer.preparation.columns import Recipe
from trainer.preparation.datasets import SIDE_FILES
from trainer.preparation.flags import define_flags
from trainer.preparation.shards import InputFile, Layout
from trainer.preparation.splitting import SPLITS
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError, DataError, WukongError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
UNFINISHED = ".unfinished"
MANIFEST = "manifest.json"
FORMAT = 1
ENDINGS = {
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "parquet": (".parquet",),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that was found.

    Args:
        name: as --dataset names it.
        recipe: what is made of its rows.
        files: its files.
        rule: how rows are divided.
        min_count: the published one.
        vectors: by vector column, the file of its vectors.
    """

    name: str
    recipe: Recipe
    files: tuple[InputFile, ...]
    rule: str
    min_count: int
    vectors: dict[str, str]


def find(values) -> Source:
    """The data set that the flags name.

    Raises:
        DataError: its files are not there.
        ConfigError: a flag contradicts another.
    """
    folder = values.input
    if values.dataset in datasets.GENERIC:
        return _generic(values, folder)
    for name in ("recipe", "label", "separator"):
        if values[name].present:
            raise ConfigError(
                f"--{name} contradicts --dataset={values.dataset}; it belongs "
                f"to --dataset={' or '.join(datasets.GENERIC)}."
            )
    known = datasets.dataset(values.dataset, values.integer_rule)
    form, files = known.find(folder)
    recipe, vectors = form.recipe, {}
    for column, name in SIDE_FILES.get(known.name, {}).items():
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            vectors[column] = path
            continue
        print(f"{path} is not there: no feature {column!r}")
        left = tuple(c for c in recipe.columns if c.name != column)
        recipe = dataclasses.replace(recipe, columns=left)
    return Source(
        known.name, recipe, tuple(files), form.rule, known.min_count, vectors
    )


def _generic(values, folder):
    if not os.path.isdir(folder):
        raise DataError(f"--input={folder}: there is no such directory.")
    files: list[InputFile] = []
    for split in SPLITS:
        for ending in ENDINGS[values.dataset]:
            for path in sorted(glob.glob(os.path.join(folder, f"{split}*"))):
                if path.endswith(ending):
                    delimiter = "\t" if ".tsv" in ending else ","
                    layout = None
                    if values.dataset == "csv":
                        layout = Layout(delimiter)
                    files.append(InputFile(path, split, layout))
    if not any(file.split == "train" for file in files):
        raise DataError(
            f"--input={folder}: there is no train file; looked for "
            f"{', '.join(f'train*{e}' for e in ENDINGS[values.dataset])}."
        )
    # Without valid rows, each 20th train row is one.
    rule = "files" if any(f.split == "valid" for f in files) else "every"
    if values.recipe:
        try:
            with open(values.recipe, encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"--recipe={values.recipe}: {error}.") from error
        recipe = Recipe.from_json(text, values.recipe)
    else:
        recipe = _inferred(values, files)
    return Source(values.dataset, recipe, tuple(files), rule, 1, {})


def _inferred(values, files):
    (first, *_) = shards.plan(files[:1], 2**24)
    names = first.names
    if names is None:
        import pyarrow.parquet as pq

        names = pq.read_schema(first.path).names
    rows = next(shards.read(first, names), None)
    if rows is None or not rows.num_rows:
        raise DataError(f"{first.path}: there are no rows.")
    return inference.infer(
        rows.drop_columns("_place"),
        label=values.label,
        separator=values.separator,
        where=first.path,
    )


def prepare(values) -> FeatureSpec:
    """Writes --output, as the flags say.

    Vocabularies are made of the train rows alone; what other splits hold
    beside is out of vocabulary, as it will be in serving.

    Raises:
        DataError: a file or a row breaks a rule, or nothing can be written.
        ConfigError: the flags break a rule.
    """
    output = os.path.abspath(values.output)
    source = find(values)
    if os.path.lexists(output):
        raise ConfigError(
            f"--output={values.output} exists; nothing is overwritten. Choose "
            "another, or remove it."
        )
    run_all = _runner(values)
    work = f"{output}{UNFINISHED}"
    try:
        with _working(work):
            made = _job(values, source, work)
            _claim(made, source)
            spec = _run(made, source, run_all)
            _publish(made, source, spec, output)
    except OSError as error:
        raise DataError(
            f"--output={values.output} cannot be written: {error}. What was "
            f"done is kept in {work}; the same command goes on."
        ) from error
    return spec


def _runner(values) -> runners.Runner:
    if values.runner is None:
        return runners.Processes(values.workers or os.cpu_count() or 1)
    try:
        return runners.Beam(values.runner, values.beam_option)
    except ImportError as error:
        raise ConfigError(
            f"--runner={values.runner} needs Apache Beam: {error}. Install it "
            "by pip install 'wukong_tf[beam]', in an environment of its own "
            "where its pins ask for one."
        ) from error


@contextlib.contextmanager
def _working(work: str) -> Iterator[None]:
    """The directory of unfinished work, held against other processes.

    It is removed where a rule is broken, and stays where the work was
    interrupted.
    """
    made = not os.path.isdir(work)
    os.makedirs(work, exist_ok=True)
    with open(os.path.join(work, "lock"), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{work} is in use by another process that prepares the same "
                "output."
            ) from None
        try:
            yield
        except WukongError:
            if made or not os.path.exists(os.path.join(work, "plan.json")):
                shutil.rmtree(work, ignore_errors=True)
            raise


def _job(values, source, work):
    planned = shards.plan(source.files, values.shard_mb * 10**6)
    if not planned:
        raise DataError(f"--input={values.input}: there are no rows.")
    return job.Job(
        work,
        source.recipe,
        source.rule,
        source.files,
        tuple(planned),
        values.min_count or source.min_count,
        values.max_vocabulary,
        values.oov_buckets,
        source.vectors,
        _extended(values.extend) if values.extend else (),
    )


def _extended(folder):
    """The vocabularies of an earlier preparation, by table."""
    path = os.path.join(folder, "features.json")
    try:
        with open(path, encoding="utf-8") as file:
            spec = FeatureSpec.from_json(file.read(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--extend={folder}: {error}.") from error
    names = dict.fromkeys(f.table_name for f in spec.categorical)
    found = [(name, spec.vocabulary(name)) for name in names]
    return tuple((name, words) for name, words in found if words)


def _claim(made: job.Job, source: Source):
    """Notes what is prepared, or checks that it is what was begun."""
    stamps = [
        [file.path, os.path.getsize(file.path), os.stat(file.path).st_mtime_ns]
        for file in made.files
    ]
    content = {
        "files": stamps,
        "job": dataclasses.asdict(dataclasses.replace(made, folder="")),
        "pyarrow": pa.__version__,
    }
    text = json.dumps(content, sort_keys=True)
    plan = {"digest": hashlib.sha256(text.encode()).hexdigest()}
    path = os.path.join(made.folder, "plan.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if json.load(file) != plan:
                raise ConfigError(
                    f"{made.folder} holds the unfinished work of other flags "
                    "or files; remove it, or give the same."
                )
        print(f"going on with {made.folder}")
        return
    kinds = (
        "files", "counts", "learned", "vocabulary", "vectors", "done", "output",
    )  # fmt: skip
    for kind in kinds:
        os.makedirs(os.path.join(made.folder, kind), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(plan, file)


def _run(made: job.Job, source: Source, run_all) -> FeatureSpec:
    """All tasks, in the order in which they need each other."""
    numbers = range(len(made.shards))
    run_all("checksums", job.checksum, made, range(len(made.files)))
    run_all("count", job.count, made, numbers)
    if made.divides:
        run_all("learn", job.learn, made, numbers)
    counts = job.learned_counts(made)
    if not counts.rows:
        raise DataError("there are no train rows.")
    if made.tables:
        run_all("vocabularies", job.make_vocabulary, made, made.tables)
    if made.vectors:
        run_all("vectors", job.read_vectors, made, list(made.vectors))
    run_all("encode", job.encode, made, numbers)
    return job.make_spec(made)


def _publish(made: job.Job, source: Source, spec: FeatureSpec, output: str):
    """features.json and the manifest, then the rename that shows all."""
    folder = os.path.join(made.folder, "output")
    files = job.results(made)
    inputs = []
    for number, each in enumerate(made.files):
        path = made.path("files", number, "json")
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        published = None if each.md5 is None else each.md5 == found["md5"]
        name = os.path.basename(each.path)
        inputs.append({"file": name, **found, "published": published})
    rows = {
        split: sum(file["rows"] for file in files if file["split"] == split)
        for split in SPLITS
    }
    manifest = {
        "format": FORMAT,
        "dataset": source.name,
        "min_count": made.min_count,
        "max_vocabulary": made.max_vocabulary,
        "split_rule": made.rule,
        "inputs": inputs,
        "rows": rows,
        "statistics": _statistics(made, spec),
        "files": files,
    }
    for name, text in (
        ("features.json", spec.to_json()),
        ("recipe.json", made.recipe.to_json()),
        (MANIFEST, json.dumps(manifest, indent=2) + "\n"),
    ):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    os.rename(folder, output)
    shutil.rmtree(made.folder, ignore_errors=True)
    for split, count in rows.items():
        if count:
            print(f"{split}: {count:,} rows")
    for found in inputs:
        is_it = {True: "is", False: "is not"}.get(found["published"])
        if is_it:
            print(f"{found['file']} {is_it} the published file by its MD5")


def _statistics(made, spec):
    """Of the train rows: labels, and of each column what it holds."""
    counts = job.learned_counts(made)
    names = ("count", "mean", "stddev", "min", "max", "missing")
    found = {}
    for numeric in spec.numeric:
        moments = counts.moments[numeric.name]
        numbers = [moments[0], numeric.mean, numeric.stddev, *moments[3:]]
        found[numeric.name] = dict(zip(names, numbers, strict=True))
    for feature in spec.categorical:
        found[feature.name] = {
            "num_ids": feature.num_ids,
            "missing": counts.missing[feature.name],
        }
    return {
        "rows": counts.rows,
        "label_rate": counts.labels[1] / counts.rows,
        "columns": found,
    }


def run(argv, values: absl_flags.FlagValues) -> int:
    """Prepares as the flags say; returns the exit code."""
    try:
        if len(argv) > 1:
            raise WukongError(f"unexpected arguments: {argv[1:]}.")
        for name in ("dataset", "input", "output"):
            if not values[name].value:
                raise ConfigError(f"--{name} is needed.")
        spec = prepare(values)
    except (WukongError, runners.WorkerLost) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    ids = sum(feature.num_ids for feature in spec.categorical)
    print(f"wrote {values.output}: {len(spec.categorical)} features, {ids} ids")
    return 0


def main():
    """Entry point of `python -m trainer.prepare`."""
    define_flags(absl_flags.FLAGS)
    app.run(lambda argv: sys.exit(run(argv, absl_flags.FLAGS)))


if __name__ == "__main__":
    main()
