"""`--mode=eval`: exact metrics of a run's checkpoint."""

import json

from absl import flags

from trainer import run_config
from trainer.data import preflight
from trainer.data.splits import open_features, open_sources
from trainer.distribution import lost
from trainer.modes.scoring import make_evaluator, open_distribution, written
from trainer.report.figures import evaluate_splits
from wukong_tf import files, runs
from wukong_tf.config import encodings
from wukong_tf.errors import ConfigError


def run_evaluation(values: flags.FlagValues):
    """`--mode=eval`: prints exact metrics as JSON; --output keeps them.

    The model is the run's own, whatever sizes the flags give; the data are
    those that the flags name, and must have the run's features.
    """
    features = open_features(values)
    own = runs.read_features(values.run_dir)
    if run_config.columns_of(features) != run_config.columns_of(own):
        theirs, ours = map(encodings.name_of_spec, (features, own))
        raise ConfigError(
            f"the feature spec of the data (preparation {theirs}) is not that "
            f"of --run_dir={values.run_dir} (preparation {ours}); a run can "
            "be evaluated only on its features."
        )
    splits = open_sources(values, features)
    splits.pop("train", None)
    if not splits:
        raise ConfigError("--mode=eval needs valid or test rows.")
    evaluator = make_evaluator(values, open_distribution(values))
    with lost.named(evaluator.workers):
        results, _ = evaluate_splits(evaluator, splits)
    if not evaluator.workers.is_chief:
        return
    if found := preflight.bad_values(splits):
        results["bad_values"] = found
    print(json.dumps(results, indent=2))
    if values.output:
        with written(values.output) as beside:
            files.write_json(beside, results)
