"""Puts a run together: model, optimizers, data, and what happens between."""

from absl import flags

from trainer import actions, checkpoints, recording, run_config
from trainer.data.bad_values import REFUSE
from trainer.data.pipeline import Pipeline
from trainer.data.source import Source, steps_per_epoch
from trainer.evaluation import Evaluator, Interrupted
from trainer.loop import Progress, Schedule, Window, make_run_steps, train
from trainer.model_setup import make_optimizers
from trainer.placement import Placement
from trainer.recording import log
from trainer.steps import make_train_step
from trainer.stop_signal import StopSignal
from wukong_tf import runs
from wukong_tf.config import ModelConfig
from wukong_tf.models import build_model
from wukong_tf.optimizers import LinearWarmup
from wukong_tf.warm_start import carry_over
from wukong_tf.weights import (
    Trained,
    assign_slots,
    model_slots,
    read_slots,
    training_slots,
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
        self.slots = training_slots(self.model, self.groups)
        self.evaluator = Evaluator(
            strategy,
            self.model,
            self.training.eval_batch_size,
            self.stop,
            values.eval_negative_rate,
        )
        if self.groups.average is not None:
            self.evaluator.weights = self.groups.average.applied

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
            return training_slots(model, groups)

        slots = self.slots
        if not self.values.init_optimizer:
            slots = model_slots(self.model)
        report = carry_over(
            runs.read_model_config(run_dir),
            Trained(found),
            self.model.config,
            slots,
            make_slots,
        )
        if self.groups.average is not None and not self.values.init_optimizer:
            self.groups.average.restart()
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
        metrics = recording.MetricsLog(self.run_dir, progress.step)
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
        record = recording.WriteTraining(
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
                        recording.Progressive(metrics, schedule, tasks),
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
