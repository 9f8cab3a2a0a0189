"""Writes features.json, recipe.json and manifest.json of a preparation."""

import json
import os
from typing import Any

from trainer.preparation import counting, datasets, recorded
from trainer.preparation.earlier import Earlier
from trainer.preparation.forms import Dataset
from trainer.preparation.inputs import Source
from trainer.preparation.job import (
    Job,
    encodings_of,
    learned_counts,
    results,
    tallies_of,
)
from trainer.preparation.settings import Prepare
from trainer.preparation.splitting import SPLITS
from wukong_tf import files
from wukong_tf.config import FeatureSpec, encodings, schema
from wukong_tf.errors import ConfigError

MANIFEST = "manifest.json"
FORMAT = 1


def publish(
    job: Job,
    source: Source,
    spec: FeatureSpec,
    output: str,
    earlier: Earlier | None = None,
):
    """Writes features, recipe and manifest, and renames the whole output."""
    folder = os.path.join(job.folder, "output")
    written = results(job)
    inputs = list(_inputs(job))
    rows = {
        split: sum(file["rows"] for file in written if file["split"] == split)
        for split in SPLITS
    }
    tallies = tallies_of(job)
    manifest = {
        "format": FORMAT,
        "dataset": source.name,
        "preparation": encodings.short_name(encodings_of(job)),
        "vocabularies": "earlier" if earlier else "train",
        "extended": bool(job.extended),
        "oov_buckets": job.oov_buckets,
        "min_count": None if earlier else job.min_count,
        "max_vocabulary": job.max_vocabulary,
        "split_rule": job.rule,
        "inputs": inputs,
        "side_files": [
            {"file": os.path.basename(path), "bytes": os.path.getsize(path)}
            for path in job.vectors.values()
        ],
        "rows": rows,
        "categories": tallies,
        "statistics": None if earlier else _statistics(job, spec),
        "files": written,
    }
    for name, text in (
        ("features.json", earlier.text if earlier else spec.to_json()),
        (recorded.RECIPE, job.recipe.to_json()),
        (recorded.LAYOUT, recorded.layout_text(job.files)),
        (MANIFEST, json.dumps(manifest, indent=2) + "\n"),
    ):
        if text is None:
            continue
        files.write_text(os.path.join(folder, name), text)
    files.place_folder(folder, output)
    files.remove(job.folder)
    for split, count in rows.items():
        if count:
            print(f"{split}: {count:,} rows")
    _print_tallies(tallies, job, earlier)
    for entry in inputs:
        is_it = {True: "is", False: "is not"}.get(entry["published"])
        if is_it:
            print(f"{entry['file']} {is_it} the published file, by its MD5")


def _inputs(job):
    """Yields the manifest's entries of the files that were prepared."""
    for number, source_file in enumerate(job.files):
        path = job.path("files", number, "json")
        with counting.reading_result(path):
            checksum = dict(schema.read_json(path))
            md5 = checksum["md5"]
        known = source_file.md5
        published = None if known is None else known == md5
        name = os.path.basename(source_file.path)
        yield {"file": name, **checksum, "published": published}


def _print_tallies(tallies, job, earlier):
    """Prints the cut bags, and the share out of an earlier vocabulary."""
    for column in job.recipe.columns_of("categorical"):
        tally = tallies.get(column.name, {})
        if cut := tally.get("bags_cut"):
            print(
                f"{column.name!r}: {cut:,} rows have more than "
                f"{column.longest} values; the first {column.longest} are used"
            )
        if earlier and not column.buckets and tally.get("values"):
            share = tally["out_of_vocabulary"] / tally["values"]
            print(f"{column.name!r}: {share:.1%} of values out of vocabulary")


def _statistics(job, spec):
    """Returns label rate and column statistics of the train rows."""
    counts = learned_counts(job)
    columns = {}
    for numeric in spec.numeric:
        moments = counts.moments[numeric.name]
        _warn_if_constant(numeric, moments)
        columns[numeric.name] = {
            "count": moments.count,
            "mean": moments.mean,
            "stddev": moments.stddev,
            "min": moments.low if moments.count else None,
            "max": moments.high if moments.count else None,
            "missing": moments.missing,
        }
    for feature in spec.categorical:
        columns[feature.name] = {
            "num_ids": feature.num_ids,
            "missing": counts.missing[feature.name],
        }
    return {
        "rows": counts.rows,
        "label_rate": counts.labels[1] / counts.rows,
        "columns": columns,
    }


def _warn_if_constant(numeric, moments):
    """Prints a warning if a number is constant up to float32's precision."""
    size = max(abs(moments.low), abs(moments.high))
    if not moments.count:
        text = "no train row has a value; mean 0 and stddev 1 are used"
    elif moments.low == moments.high:
        text = "constant in the train rows; stddev 1 is used instead of 0"
    elif moments.stddev < 2**-21 * size:
        text = (
            "its train rows differ by little more than float32's precision "
            f"(stddev {moments.stddev:.3g} at {size:.6g}); subtract a "
            "constant from it, or make it a category"
        )
    else:
        return
    print(f"number {numeric.name!r}: {text}")


def check(data_dir: str, settings: Prepare) -> dict[str, Any] | None:
    """Compares a directory of trainer.prepare with what flags would make.

    Args:
        data_dir: the directory.
        settings: the flags, of which the data set, its rules and the limits
            of vocabularies count.

    Returns:
        Its manifest; None without one, as of data prepared otherwise.

    Raises:
        ConfigError: the manifest cannot be read, or an entry of it or a
            column of the recipe differs; the message names the first.
    """
    path = os.path.join(data_dir, MANIFEST)
    if not os.path.exists(path):
        return None
    manifest = schema.read_json(path)
    known = Dataset(settings.dataset, ())
    if settings.dataset in datasets.KNOWN:
        known = datasets.dataset(settings.dataset, settings.integer_rule)
    # Possible values by entry; none, any value.
    wanted: dict[str, list] = {
        "dataset": [known.name],
        "min_count": [settings.min_count or known.min_count],
        "max_vocabulary": [settings.max_vocabulary],
        "split_rule": [form.rule for form in known.forms],
        "vocabularies": ["train"],
    }
    # Older manifests lack these.
    recent: dict[str, list] = {
        "extended": [False],
        "oov_buckets": [settings.oov_buckets],
    }
    wanted |= {name: recent[name] for name in recent if name in manifest}
    try:
        found = {name: manifest[name] for name in wanted}
        for entry in manifest["inputs"]:
            entry["file"], entry["bytes"], entry["published"]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path}: is not a manifest.") from error
    recipe = recorded.Preparation.read(data_dir)
    if recipe is not None:
        found |= _columns(recipe.recipe)
    for form in known.forms:
        columns = _columns(form.recipe)
        wanted |= {name: [column] for name, column in columns.items()}
    for name, values in wanted.items():
        if values and found.get(name) not in values:
            raise ConfigError(
                f"--data_dir={data_dir}: {name} must be "
                f"{' or '.join(map(str, values))}; received {found.get(name)}. "
                "Give another --data_dir, which is then prepared."
            )
    return manifest


def _columns(recipe):
    """Returns the columns of a recipe as in its JSON, by name."""
    return {
        f"column {column.name!r}": schema.to_dict(column)
        for column in recipe.columns
    }
