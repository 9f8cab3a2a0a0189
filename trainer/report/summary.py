"""Evaluates a finished run and writes its report."""

import contextlib
import dataclasses
import os
from typing import Any

import pyarrow.parquet as pq

from trainer.data import preflight
from trainer.data.samples import literals
from trainer.loop.restore import best_checkpoint
from trainer.loop.session import Session
from trainer.placement.host_memory import peak_bytes
from trainer.placement.tables import model_cost
from trainer.process.console import log
from trainer.report import importance
from trainer.report.compared import compared_metrics
from trainer.report.figures import (
    curves_of,
    evaluate_splits,
    held_out_of,
    names_of,
)
from trainer.report.files import write_report
from wukong_tf import runs
from wukong_tf.errors import RunError, WukongError, one_line
from wukong_tf.runs.arrays import assign_slots, model_slots


def report(session: Session) -> dict[str, Any]:
    """Evaluates the best checkpoint exactly; the chief writes report/.

    Raises:
        Interrupted: the run was asked to stop.
    """
    best = best_checkpoint(session)
    model, splits = session.model, session.splits
    assign_slots(model_slots(model), best)
    session.evaluator.weights = contextlib.nullcontext  # already assigned
    with session.signal:
        results, predictions = evaluate_splits(
            session.evaluator,
            splits,
            attainable=session.workers.is_chief,
            by=session.settings.run.slices,
        )
        bad_values = preflight.bad_values(splits)
        _add_importance(session, results)
    if not session.workers.is_chief:
        return results
    results["run"] = _facts(session.progress, best.step)
    config = model.config.to_dict()
    config.pop("features")
    results["model"] = {
        "name": config.pop("model"),
        "parameters": model.count_params() + _of_others(model),
        **config,
    }
    results["training"] = dataclasses.asdict(session.training)
    results["cost"] = model_cost(model.config, session.training).to_dict()
    results["compared"] = _compared(session.settings.run.compare_runs)
    _report_progressive(session, results)
    if bad_values:
        # Includes counts from before the run resumed.
        bad_values["train"]["columns"] = session.progress.bad_values
        results["bad_values"] = bad_values
    results["curves"] = curves_of(predictions)
    session.check_directory()  # scoring may have taken long
    paths = write_report(
        session.run_dir,
        results,
        predictions,
        title=os.path.basename(os.path.normpath(session.run_dir)),
        example=_example_if_possible(session.run_dir),
        draw=session.settings.run.plots,
    )
    log(f"wrote {os.path.dirname(paths[0])}")
    return results


def _of_others(model):
    """Returns how many parameters of sharded tables other workers hold."""
    return sum(
        layer.plan.width * (layer.plan.rows - layer.table.shape[0])
        for layer in model.tables
    )


def _facts(progress, checkpoint_step):
    """Returns what a run did, and how fast."""
    seconds = max(progress.seconds, 1e-9)
    return {
        "checkpoint_step": checkpoint_step,
        "steps": progress.step,
        "rows": progress.rows,
        "seconds": progress.seconds,
        "examples_per_s": progress.rows / seconds,
        "input_wait": progress.input_seconds / seconds,
        "peak_bytes": peak_bytes(),
        "stopped_early": progress.stopped_early,
    }


def _add_importance(session, results):
    """Adds the importance of features, which all workers measure together."""
    held_out = held_out_of(session.splits)
    rows = session.settings.run.importance_rows
    if rows is None:
        trained = session.workers.from_chief(session.progress.rows)
        rows = importance.rows_by_default(
            session.model.config.features, trained
        )
    if not held_out or not rows:
        return
    split = held_out[0]
    measured = importance.measure(
        session.evaluator, session.splits[split], rows
    )
    results["importance"] = {"split": split, **measured}


def _example_if_possible(run_dir):
    """Returns the program, or "" if a file that it is made of was spoilt."""
    try:
        return example_of(run_dir)
    except (OSError, KeyError, ValueError, WukongError) as error:
        log(f"the report leaves out its example: {one_line(error)}")
        return ""


def example_of(run_dir: str) -> str:
    """Returns a program that scores the first held-out rows of a run."""
    spec = runs.read_features(run_dir)
    samples = pq.read_table(
        os.path.join(run_dir, runs.SAMPLES), columns=list(spec.feature_names)
    )
    rows = "\n".join(
        f"    {name!r}: {literals(samples[name].slice(0, 2))!r},"
        for name in samples.column_names
    )
    return (
        "import wukong_tf\n\n"
        f"model = wukong_tf.load_run({os.path.abspath(run_dir)!r})\n"
        "# Or a list of dicts, an Arrow table, a pandas or polars frame.\n"
        f"rows = {{\n{rows}\n}}\n"
        "for task, probabilities in model.predict_rows(rows).items():\n"
        "    print(task, probabilities)\n"
    )


def _compared(paths):
    """Returns the metrics of other runs, without those that are gone by now."""
    compared = {}
    for path, name in names_of(paths).items():
        try:
            compared[name] = compared_metrics(path)
        except RunError as error:  # it was there when this run started
            log(f"the report leaves out a run: {error}")
    return compared


def _report_progressive(session, results):
    """Adds the metrics of progressive evaluation to `results`."""
    mine = session.progress.progressive.get("metrics")
    if mine is None:
        return
    results["progressive"] = {
        "window_rows": session.training.progressive_window_rows,
        "windows": session.progress.progressive["windows"],
        **mine,
    }
    relative = {}
    for name, compared in results["compared"].items():
        theirs = compared.get("progressive") or {}
        relative[name] = {
            task: 100
            * (spans["window"]["logloss"] / other["window"]["logloss"] - 1)
            for task, spans in mine.items()
            if (other := theirs.get(task))
        }
    if any(relative.values()):
        # As in the paper, below 0 is better than the other run.
        results["progressive"]["last_window_logloss_percent"] = relative
