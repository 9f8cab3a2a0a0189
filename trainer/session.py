"""Puts a run together: model, optimizers, data, and what a run ends with."""

import dataclasses
import os
import time
from typing import Any

from absl import flags

from trainer import (
    actions,
    checkpoints,
    distribution,
    run_config,
    run_directory,
    sources,
    start_checks,
)
from trainer.actions import log
from trainer.data.bad_values import REFUSE
from trainer.data.pipeline import Pipeline
from trainer.data.source import Source, steps_per_epoch
from trainer.evaluation import Evaluator, Interrupted
from trainer.loop import Progress, Schedule, Window, make_run_steps, train
from trainer.placement import Placement, devices_from_flags, place
from trainer.plan import describe_model
from trainer.report import write_report
from trainer.results import compared_metrics, evaluate_splits, peak_bytes
from trainer.steps import make_train_step
from trainer.stop_signal import StopSignal
from wukong_tf import runs
from wukong_tf.config import ModelConfig
from wukong_tf.errors import ConfigError
from wukong_tf.models import ClickModel, build_model
from wukong_tf.optimizers import (
    ClippedAdam,
    LinearWarmup,
    OptimizerGroups,
    RowwiseAdagrad,
)
from wukong_tf.optimizers.groups import TABLES
from wukong_tf.scaling import Cost, cost
from wukong_tf.warm_start import carry_over
from wukong_tf.weights import (
    assign_slots,
    model_slots,
    optimizer_slots,
    read_slots,
)


def make_optimizers(
    model: ClickModel, training: run_config.Training
) -> OptimizerGroups:
    """Rowwise Adagrad for the tables, Adam for everything else."""
    warmup = training.warmup_steps
    return OptimizerGroups(
        model.trainable_variables,
        {
            "tables": (
                RowwiseAdagrad(
                    LinearWarmup(training.table_learning_rate, warmup),
                    l2=training.embedding_l2,
                    l2_scope=training.embedding_l2_scope,
                    row_runs=_row_runs(model, training),
                ),
                TABLES,
            ),
            "dense": (
                ClippedAdam(
                    LinearWarmup(training.learning_rate, warmup),
                    global_clipnorm=training.clipnorm or None,
                ),
                None,
            ),
        },
    )


def _row_runs(model, training):
    """How the rows of each table learn, where they do not learn alike."""
    spec = model.config.features
    runs = {}
    for layer in model.tables:
        found = [spec.table_settings(t.name) for t in layer.plan.tables]
        if all(t.learning_rate is None and t.l2 is None for t in found):
            continue
        runs[layer.table.path] = [
            _row_run(settings, table.rows, training)
            for settings, table in zip(found, layer.plan.tables, strict=True)
        ]
    return runs


def _row_run(settings, rows, training):
    rate, l2 = settings.learning_rate, settings.l2
    return (
        rows,
        1.0 if rate is None else rate / training.table_learning_rate,
        training.embedding_l2 if l2 is None else l2,
    )


def model_cost(config: ModelConfig, training: run_config.Training) -> Cost:
    """What the model takes, trained so."""
    return cost(
        config,
        batch_size=training.batch_size,
        dtype=run_config.DTYPES[training.precision],
        remat=training.remat,
    )


def make_schedule(source: Source, training: run_config.Training) -> Schedule:
    """When the host looks up, in steps."""
    window = 0
    if training.eval == "progressive":
        window = -(-training.progressive_window_rows // training.batch_size)
    per_epoch = steps_per_epoch(source, training.batch_size)
    total = training.epochs * per_epoch
    return Schedule(
        total_steps=min(total, training.max_steps or total),
        steps_per_epoch=per_epoch,
        steps_per_loop=training.steps_per_loop,
        eval_every=training.eval_every_steps,
        checkpoint_every=training.checkpoint_every_steps,
        window=window,
    )


class Session:
    """One run in one process.

    Args:
        values: the parsed flags.
        strategy: where to compute.
        config: the model.
        splits: the sources by split.
        placement: where the tables lie.
    """

    def __init__(
        self,
        values: flags.FlagValues,
        strategy,
        config: ModelConfig,
        splits: dict[str, Source],
        placement: Placement,
    ):
        self.values = values
        self.run_dir = values.run_dir
        self.training = run_config.training_from_flags(values)
        self.strategy = strategy
        self.splits = splits
        self.schedule = make_schedule(splits["train"], self.training)
        self.progress = Progress()
        self.stop = StopSignal()
        with strategy.scope():
            self.model = build_model(
                config,
                lookup=self.training.lookup,
                dtype=run_config.DTYPES[self.training.precision],
                host_tables=placement.host_tables,
                **({"remat": True} if self.training.remat else {}),
            )
            self.groups = make_optimizers(self.model, self.training)
            self.groups.build()
        self.slots = model_slots(self.model)
        self.slots += optimizer_slots(self.model, self.groups)
        self.evaluator = Evaluator(
            strategy,
            self.model,
            self.training.eval_batch_size,
            self.stop,
            values.eval_negative_rate,
        )

    def restore(self):
        """Goes on from the newest whole checkpoint, if there is one.

        Otherwise from another run's, if --init_from names one.
        """
        found = checkpoints.newest_whole(self.run_dir, log)
        if found is None:
            if self.values.init_from:
                self.start_from(self.values.init_from)
            return
        assign_slots(self.slots, found)
        self.progress = Progress(**found.state)
        # --patience may be another one now.
        self.progress.stopped_early = actions.patience_is_out(
            self.progress.evaluations, self.training.patience
        )
        checkpoints.restore_best(
            self.run_dir,
            found.step,
            self.progress.evaluations,
            self.training.early_stopping_metric,
        )
        log(f"going on from step {found.step} ({found.path})")

    def start_from(self, run_dir: str):
        """Takes what fits of another run's best checkpoint."""
        found = runs.find_checkpoint(run_dir, self.values.init_checkpoint)

        def make_slots(config):
            model = build_model(
                config, dtype=run_config.DTYPES[self.training.precision]
            )
            groups = make_optimizers(model, self.training)
            groups.build()
            return model_slots(model) + optimizer_slots(model, groups)

        slots = self.slots
        if not self.values.init_optimizer:
            slots = model_slots(self.model)
        report = carry_over(
            runs.read_model_config(run_dir),
            found,
            self.model.config,
            slots,
            make_slots,
        )
        log(f"starting from {found.path}")
        for line in report.lines():
            log(f"  {line}")

    def run(self) -> bool:
        """Trains to the end or to a signal; True if it came to the end."""
        progress, schedule, training = (
            self.progress,
            self.schedule,
            self.training,
        )
        metrics = actions.MetricsLog(self.run_dir, progress.step)
        show = actions.ShowProgress(schedule, progress.step)
        save = actions.SaveCheckpoint(
            self.run_dir,
            schedule,
            lambda: read_slots(self.slots),
            keep=training.keep_checkpoints,
            metric=training.early_stopping_metric,
        )
        tasks = [task.name for task in self.model.config.features.tasks]
        evaluate = None
        if "valid" in self.splits:
            evaluate = actions.Evaluate(
                self.evaluator,
                self.splits["valid"],
                schedule,
                metrics,
                metric=training.early_stopping_metric,
                task=training.early_stopping_task or tasks[0],
                patience=training.patience,
            )
        progressive = training.eval == "progressive"
        rate = LinearWarmup(training.learning_rate, training.warmup_steps)
        record = actions.WriteTraining(
            metrics,
            schedule,
            rate,
            getattr(self.splits["train"], "bad", REFUSE),
        )
        epoch, step = divmod(progress.step, schedule.steps_per_epoch)
        pipeline = Pipeline(
            self.splits["train"],
            training.batch_size,
            epoch=epoch,
            step=step,
            epochs=None,
            steps=schedule.total_steps - progress.step,
        )
        with self.stop:
            try:
                if evaluate is not None:
                    self._catch_up(evaluate, save)
                train(
                    strategy=self.strategy,
                    run_steps=make_run_steps(
                        self.strategy,
                        make_train_step(
                            self.model,
                            self.groups,
                            jit_compile=training.jit_compile,
                            negative_rates=self.evaluator.negative_rates
                            if progressive
                            else None,
                        ),
                        len(tasks) if progressive else 0,
                    ),
                    pipeline=pipeline,
                    progress=progress,
                    schedule=schedule,
                    actions=[
                        record,
                        show,
                        actions.Progressive(metrics, schedule, tasks),
                        *([] if evaluate is None else [evaluate]),
                        save,
                    ],
                    should_stop=self.stop,
                )
            except Interrupted:
                pass
            finally:
                show.close()
            if self.stop.received:
                save.save(progress)
        return not self.stop.received

    def _catch_up(self, evaluate, save):
        """The evaluation that a stop may have cut short."""
        progress = self.progress
        done = [evaluation["step"] for evaluation in progress.evaluations]
        due = self.schedule.evaluates_at(progress.step)
        if progress.step and due and progress.step not in done:
            window = Window(max(0, progress.step - 1), 0, 0, 0.0, 0.0, 0.0)
            evaluate(progress, window)
            save(progress, window)

    def report(self) -> dict[str, Any]:
        """Evaluates the best checkpoint exactly and writes report/."""
        found = runs.find_checkpoint(self.run_dir, "best")
        assign_slots(model_slots(self.model), found)
        with self.stop:
            results, predictions = evaluate_splits(self.evaluator, self.splits)
        progress = self.progress
        results["run"] = {
            "checkpoint_step": found.step,
            "steps": progress.step,
            "rows": progress.rows,
            "seconds": progress.seconds,
            "examples_per_s": progress.rows / max(progress.seconds, 1e-9),
            "input_wait": progress.input_seconds / max(progress.seconds, 1e-9),
            "peak_bytes": peak_bytes(),
            "stopped_early": progress.stopped_early,
        }
        config = self.model.config.to_dict()
        config.pop("features")
        results["model"] = {
            "name": config.pop("model"),
            "parameters": self.model.count_params(),
            **config,
        }
        results["training"] = dataclasses.asdict(self.training)
        results["cost"] = model_cost(self.model.config, self.training).to_dict()
        self._report_progressive(results)
        if found_bad := start_checks.bad_values(self.splits):
            # What was read before a stop too.
            found_bad["train"]["columns"] = progress.bad_values
            results["bad_values"] = found_bad
        results["compared"] = {
            os.path.basename(os.path.normpath(path)): compared_metrics(path)
            for path in self.values.compare_runs
        }
        paths = write_report(
            self.run_dir,
            results,
            predictions,
            title=os.path.basename(os.path.normpath(self.run_dir)),
        )
        log(f"wrote {os.path.dirname(paths[0])}")
        return results

    def _report_progressive(self, results):
        """Metrics of rows scored before they were trained on."""
        mine = self.progress.progressive.get("metrics")
        if mine is None:
            return
        results["progressive"] = {
            "window_rows": self.training.progressive_window_rows,
            "windows": self.progress.progressive["windows"],
            **mine,
        }
        relative = {}
        for path in self.values.compare_runs:
            theirs = compared_metrics(path).get("progressive") or {}
            relative[os.path.basename(os.path.normpath(path))] = {
                task: 100
                * (found["window"]["logloss"] / other["window"]["logloss"] - 1)
                for task, found in mine.items()
                if (other := theirs.get(task))
            }
        if any(relative.values()):
            # In the paper's terms: below 0 is better than the other run.
            results["progressive"]["last_window_logloss_percent"] = relative


def run_training(values: flags.FlagValues) -> bool:
    """`--mode=train`; True where the run came to its end."""
    began = time.perf_counter()
    training = run_config.training_from_flags(values)
    strategy = distribution.set_up(
        seed=training.seed,
        deterministic=training.deterministic,
        intra_op=values.intra_op_threads,
        inter_op=values.inter_op_threads,
    )
    features = sources.open_features(values)
    config = run_config.model_from_flags(values, features)
    splits = sources.open_sources(values, features)
    if training.early_stopping_metric == "group_auc" and not features.group:
        raise ConfigError(
            "--early_stopping_metric=group_auc needs a group column in the "
            "feature spec; there is none."
        )
    tasks = [task.name for task in features.tasks]
    if training.early_stopping_task not in ("", *tasks):
        raise ConfigError(
            f"--early_stopping_task must be one of {tasks}; received "
            f"{training.early_stopping_task!r}."
        )
    for path in values.compare_runs:
        compared_metrics(path)  # a wrong path must not wait for the end
    if values.init_from:
        if os.path.realpath(values.init_from) == os.path.realpath(
            values.run_dir
        ):
            raise ConfigError(
                "--init_from must be another run than --run_dir; the same "
                "command goes on with its own run by itself."
            )
        runs.read_model_config(values.init_from)
    placed = place(
        model_cost(config, training),
        devices_from_flags(values),
        values.table_device,
    )
    placed.check()
    model = config.to_dict()
    del model["features"]
    content = {
        "format": runs.FORMAT,
        "model": model,
        "training": dataclasses.asdict(training),
        "data": {split: s.num_rows for split, s in splits.items()}
        | ({"seed": values.synthetic_seed} if values.synthetic else {}),
    }
    seen = start_checks.check_splits(
        splits, allow_overlap=values.allow_file_overlap
    )
    with run_directory.locked(values.run_dir):
        run_directory.claim(values.run_dir, content, features)
        held_out = next(
            splits[split]
            for split in ("test", "valid", "train")
            if split in splits
        )
        run_directory.write_samples(values.run_dir, held_out)
        session = Session(values, strategy, config, splits, placed)
        log(describe_model(session.model))
        log(distribution.describe(strategy))
        for split, source in splits.items():
            log(f"{split}: {source.num_rows:,} rows")
        for line in seen:
            log(line)
        session.restore()
        finished = session.run()
        if finished:
            try:
                session.report()
            except Interrupted:
                finished = False
    log(f"{time.perf_counter() - began:.1f} s in all")
    return finished
