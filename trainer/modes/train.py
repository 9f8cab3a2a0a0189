"""`--mode=train`: trains a run to its end."""

import contextlib
import dataclasses
import os
import time

from trainer.checkpoints import run_directory
from trainer.data import preflight
from trainer.data.content import Contents
from trainer.data.spec import open_features
from trainer.data.splits import open_sources
from trainer.distribution import agreement, lost
from trainer.distribution.cluster import warnings_of
from trainer.distribution.strategies import set_up
from trainer.loop.evaluator import Interrupted
from trainer.loop.metrics_log import Metrics, MetricsLog, NoMetrics
from trainer.loop.restore import restore
from trainer.loop.session import Session
from trainer.modes.packages import check_packages
from trainer.modes.placement import place_together
from trainer.modes.plan import describe_model
from trainer.placement.tables import model_cost
from trainer.process.console import log, only_chief_logs
from trainer.process.loading import Stopwatch
from trainer.report import slices
from trainer.report.summary import report
from trainer.settings import Settings
from trainer.tracking.trackers import Tracked, tracked
from wukong_tf import runs


def run_training(settings: Settings, start: Stopwatch | None = None) -> bool:
    """Trains a run; returns whether it reached its end.

    Args:
        settings: the settings of the run.
        start: times the start of the program. Defaults to None, it began now.
    """
    start = start or Stopwatch()
    start.lap("imports")
    distribution = set_up(
        settings.devices,
        settings.machine,
        seed=settings.training.seed,
        deterministic=settings.training.deterministic,
    )
    with lost.named(distribution.workers):
        finished = _train(settings, distribution, start)
        log(f"total time: {time.perf_counter() - start.began:.1f} s")
    return finished


def _train(settings, distribution, start):
    workers, training = distribution.workers, settings.training
    only_chief_logs(workers.is_chief)
    features = open_features(settings)
    config = settings.model.config(features)
    for line in check_packages(
        config.model,
        training.lookup,
        reports=True,
        plots=settings.run.plots,
    ):
        log(line)
    slices.check(features, settings.run.slices)
    splits = open_sources(settings, features)
    placed, placement = _place(settings, distribution, config)
    content = _config_content(settings, config, splits)
    contents = Contents(splits)
    if workers.count > 1:  # this reads parts of every file
        whole = {**content, "features": features.to_dict()}
        whole["devices"] = {
            "sharded_tables": placed.sharded_tables,
            "sharded_exchange_dtype": settings.devices.sharded_exchange_dtype,
            "dense_state": settings.devices.dense_state,
        }
        agreement.check_same(workers, agreement.identity(whole, contents))
    described = preflight.check_splits(
        splits, allow_overlap=settings.data.allow_file_overlap
    )
    # Only the chief writes; the others start once it holds the directory.
    with contextlib.ExitStack() as stack:
        directory, data = None, None
        if workers.is_chief:
            run_dir = settings.run.directory
            directory = stack.enter_context(run_directory.locked(run_dir))
            directory.claim(content, features)
            data = run_directory.read_data(run_dir)
            contents.expect(data)
            _note_data(settings, features, splits)
        contents.expect(workers.from_chief(data))
        contents.start()
        start.lap("data")
        log("building the model")
        session = Session(
            settings, distribution, config, splits, placed, contents, directory
        )
        for line in [*_describe(session), *placement, *described]:
            log(line)
        restore(session)
        start.lap("model")
        records: Metrics = NoMetrics()
        if workers.is_chief:
            check = session.check_directory
            records = MetricsLog(run_dir, session.progress.step, check)
            records = stack.enter_context(tracked(settings, records, check))
        return session.run(start, records) and _report(session, records)


def _place(settings, distribution, config):
    """Returns the placement of tables, and log lines on sharded ones."""
    workers = distribution.workers.count
    sharded_state = settings.devices.dense_state == "sharded"
    costs = model_cost(
        config,
        settings.training,
        distribution.replicas,
        workers if sharded_state else 1,
    )
    return place_together(settings, distribution, costs, config.features)


def _config_content(settings, config, splits):
    """Returns the content of config.json."""
    model = config.to_dict()
    del model["features"]
    return {
        "format": runs.FORMAT,
        "model": model,
        "training": dataclasses.asdict(settings.training),
        "data": {split: s.num_rows for split, s in splits.items()}
        | _log_content(settings, splits["train"]),
    }


def _log_content(settings, train):
    """Returns what config.json holds of a synthetic log."""
    data = settings.data
    if not data.synthetic:
        return {}
    digest = train.log.digest("train")
    content = {"seed": data.synthetic_seed, "digest": digest}
    if data.synthetic_log == "interactions":
        content["interactions"] = dataclasses.asdict(settings.interactions)
    return content


def _note_data(settings, features, splits):
    """Writes how the data were prepared, and which split is held out."""
    run_dir, folder = settings.run.directory, settings.data.features_folder
    if folder is not None:
        run_directory.write_preparation(
            run_dir, folder, features, splits["train"]
        )
    held_out = next(
        split for split in ("test", "valid", "train") if split in splits
    )
    run_directory.write_held_out(run_dir, held_out, splits[held_out])


def _describe(session):
    """Returns log lines on the model, the workers and the data of a run."""
    distribution = session.distribution
    return [
        describe_model(session.model),
        *session.settings.model.describe(session.model.config),
        *distribution.describe(session.training.batch_size),
        *session.describe_exchange(),
        *warnings_of(distribution.cluster),
        *(
            f"{split}: {source.num_rows:,} rows"
            for split, source in session.splits.items()
        ),
        session.schedule.describe(evaluates="valid" in session.splits),
    ]


def _report(session, records):
    """Writes the report; returns False if a signal came first."""
    try:
        session.check_directory()
        results = report(session)
    except Interrupted:
        return False
    if isinstance(records, Tracked):
        records.report(results, os.path.join(session.run_dir, "report"))
        records.status = "finished"
    return True
