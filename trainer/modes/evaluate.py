"""`--mode=eval`: exact metrics of a run's checkpoint."""

import dataclasses
import json

from trainer.data import preflight
from trainer.data.spec import open_features
from trainer.data.splits import open_sources
from trainer.distribution import lost
from trainer.modes.scoring import make_evaluator, open_distribution, written
from trainer.report import slices
from trainer.report.figures import evaluate_splits
from trainer.report.files import plain
from trainer.settings import Settings
from wukong_tf import files, runs
from wukong_tf.config import FeatureSpec, encodings
from wukong_tf.errors import ConfigError


def run_evaluation(settings: Settings):
    """Prints exact metrics as JSON, and writes them to --output if set.

    The model is the run's own, whatever model settings are given; the data
    are those that the settings name, and must have the run's features.
    """
    run_dir, output = settings.run.directory, settings.run.output
    features = open_features(settings)
    own = runs.read_features(run_dir)
    if _columns(features) != _columns(own):
        theirs, ours = map(encodings.name_from_spec, (features, own))
        raise ConfigError(
            f"the feature spec of the data (preparation {theirs}) is not that "
            f"of --run_dir={run_dir} (preparation {ours}); a run can "
            "be evaluated only on its features."
        )
    slices.check(features, settings.run.slices)
    splits = open_sources(settings, features)
    splits.pop("train", None)
    evaluator = make_evaluator(settings, open_distribution(settings))
    with lost.named(evaluator.workers):
        results, _ = evaluate_splits(evaluator, splits, by=settings.run.slices)
    if not evaluator.workers.is_chief:
        return
    if bad_values := preflight.bad_values(splits):
        results["bad_values"] = bad_values
    results = plain(results)
    print(json.dumps(results, indent=2))
    if output:
        with written(output) as path:
            files.write_json(path, results)


def _columns(features: FeatureSpec) -> FeatureSpec:
    """Returns the spec without the fields that affect only training."""
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
