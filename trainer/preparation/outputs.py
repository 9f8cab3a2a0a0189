"""Writes features.json, recipe.json and manifest.json of a preparation."""

import json
import os
import shutil

from trainer.preparation import job, requests
from trainer.preparation.earlier import Earlier
from trainer.preparation.inputs import Source
from trainer.preparation.splitting import SPLITS
from wukong_tf.config import FeatureSpec, encodings

MANIFEST = "manifest.json"
FORMAT = 1


def publish(
    made: job.Job,
    source: Source,
    spec: FeatureSpec,
    output: str,
    earlier: Earlier | None = None,
):
    """Writes features, recipe and manifest, and renames the whole output."""
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
    tallies = job.tallies_of(made)
    manifest = {
        "format": FORMAT,
        "dataset": source.name,
        "preparation": encodings.name_of(job.encodings_of(made)),
        "vocabularies": "earlier" if earlier else "train",
        "min_count": None if earlier else made.min_count,
        "max_vocabulary": made.max_vocabulary,
        "split_rule": made.rule,
        "inputs": inputs,
        "rows": rows,
        "categories": tallies,
        "statistics": None if earlier else _statistics(made, spec),
        "files": files,
    }
    for name, text in (
        ("features.json", earlier.text if earlier else spec.to_json()),
        (requests.RECIPE, made.recipe.to_json()),
        (requests.LAYOUT, requests.layout_text(made.files)),
        (MANIFEST, json.dumps(manifest, indent=2) + "\n"),
    ):
        if text is None:
            continue
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    os.rename(folder, output)
    shutil.rmtree(made.folder, ignore_errors=True)
    for split, count in rows.items():
        if count:
            print(f"{split}: {count:,} rows")
    _print_tallies(tallies, made, earlier)
    for found in inputs:
        is_it = {True: "is", False: "is not"}.get(found["published"])
        if is_it:
            print(f"{found['file']} {is_it} the published file, by its MD5")


def _print_tallies(tallies, made, earlier):
    """Prints the cut bags, and the share out of an earlier vocabulary."""
    for column in made.recipe.of_kind("categorical"):
        tally = tallies.get(column.name, {})
        if cut := tally.get("bags_cut"):
            print(
                f"{column.name!r}: {cut:,} rows have more than "
                f"{column.longest} values; the first {column.longest} are used"
            )
        if earlier and not column.buckets and tally.get("values"):
            share = tally["out_of_vocabulary"] / tally["values"]
            print(f"{column.name!r}: {share:.1%} of values out of vocabulary")


def _statistics(made, spec):
    """Returns label rate and column statistics of the train rows."""
    counts = job.learned_counts(made)
    found = {}
    for numeric in spec.numeric:
        moments = counts.moments[numeric.name]
        _say_constant(numeric, moments)
        found[numeric.name] = {
            "count": moments.count,
            "mean": moments.mean,
            "stddev": moments.stddev,
            "min": moments.low if moments.count else None,
            "max": moments.high if moments.count else None,
            "missing": moments.missing,
        }
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


def _say_constant(numeric, moments):
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
