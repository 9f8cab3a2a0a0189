"""Assembles a run: model, optimizers, data and the actions between steps."""

import contextlib
import functools

from trainer.checkpoints import store
from trainer.checkpoints.run_directory import HeldDirectory, write_data
from trainer.data.content import Contents
from trainer.data.pipeline import Pipeline
from trainer.data.source import Source
from trainer.distribution.agreement import SameFiles
from trainer.distribution.strategies import Distribution
from trainer.loop import actions, records
from trainer.loop.evaluator import Evaluator, Interrupted
from trainer.loop.metrics_log import Metrics
from trainer.loop.optimizers import (
    describe_state,
    describe_ways,
    make_optimizers,
    table_ways,
    vary_dropout,
)
from trainer.loop.outer import make_run_steps, train
from trainer.loop.profiling import Profile
from trainer.loop.progress import Progress, make_schedule
from trainer.loop.rates import Rates
from trainer.loop.saving import SaveCheckpoint, make_shard_writer, make_writer
from trainer.loop.step_clock import StepClock
from trainer.loop.steps import make_train_step
from trainer.loop.watchdog import Watchdog
from trainer.placement.tables import Placement
from trainer.process.console import log
from trainer.process.loading import Stopwatch
from trainer.process.stop_signal import STOP
from trainer.settings import DTYPES, Settings
from wukong_tf.config import ModelConfig
from wukong_tf.errors import ContentError
from wukong_tf.models import build_model
from wukong_tf.rows.bad_values import REFUSE
from wukong_tf.runs.arrays import read_slots, training_slots

LONGEST_WAIT_S = 5.0  # for the content of files, before the first step


class Session:
    """One training run, or a worker's part in it.

    Args:
        settings: the settings of the run.
        distribution: the devices to compute on.
        config: the model's configuration.
        splits: the sources by split.
        placement: the devices that hold the tables.
        contents: checksums of the splits' files, still being computed.
        held: the run directory, on the chief. Defaults to None.
    """

    def __init__(
        self,
        settings: Settings,
        distribution: Distribution,
        config: ModelConfig,
        splits: dict[str, Source],
        placement: Placement,
        contents: Contents,
        held: HeldDirectory | None = None,
    ):
        self.held = held
        self.contents = contents
        self.settings = settings
        self.run_dir = settings.run.directory
        self.training = settings.training
        self.distribution = distribution
        self.workers = distribution.workers
        self.splits = splits
        self.profiled = settings.machine.profiled_steps
        self.schedule = make_schedule(
            splits["train"].num_rows, self.training, self.profiled
        )
        self.progress = Progress()
        self.signal = STOP
        self.stopped = False
        with distribution.strategy.scope():
            self._build(config, placement)
        self.slots = training_slots(self.model, self.groups)
        self.shards = make_shard_writer(settings, self.slots, self.workers)
        self.tasks = [task.name for task in config.features.tasks]
        self.evaluator = Evaluator(
            distribution,
            self.model,
            self.training.eval_batch_size,
            self.should_stop,
            settings.data.eval_negative_rate,
        )
        if self.groups.average is not None:
            self.evaluator.weights = self.groups.average.applied

    def _build(self, config, placement):
        """Creates the model and its optimizers, in the strategy's scope."""
        training, replicas = self.training, self.distribution.replicas
        self.model = build_model(
            config,
            lookup=training.lookup,
            dtype=DTYPES[training.precision],
            host_tables=placement.host_tables,
            sharded_tables=placement.sharded_tables,
            **({"remat": True} if training.remat else {}),
        )
        devices = self.settings.devices
        for layer in self.model.tables:
            layer.exchange_dtype = devices.sharded_exchange_dtype
        if replicas > 1:
            vary_dropout(self.model)
        self.ways = table_ways(
            self.model, training, replicas, devices.table_exchange
        )
        self.rates = Rates(
            config, training, training.epochs * self.schedule.steps_per_epoch
        )
        self.groups = make_optimizers(
            self.model, training, self.rates, self.ways, devices.dense_state
        )
        self.groups.build()

    def describe_exchange(self) -> list[str]:
        """Returns log lines on how replicas and workers share the run."""
        lines = []
        if self.distribution.replicas > 1:
            lines += describe_ways(self.model, self.ways)
        lines += describe_state(self.groups)
        workers, lanes = self.workers.count, self.training.data_lanes
        if workers > 1 and lanes % workers and not self.settings.data.synthetic:
            lines += [
                f"each of {workers} workers also reads rows of others, since "
                f"--data_lanes={lanes} is not a multiple of their number"
            ]
        return lines

    def should_stop(self) -> bool:
        """Returns whether any worker was asked to stop; all must call it."""
        self.stopped = self.stopped or self.workers.any(self.signal())
        return self.stopped

    def run(self, start: Stopwatch, metrics: Metrics) -> bool:
        """Trains to the end or a signal; returns whether it reached the end.

        Args:
            start: times the start of the program, to the first step.
            metrics: receives the records.
        """
        progress, pipeline = self.progress, self._make_pipeline()
        clock = StepClock(
            self.distribution.local_replicas, on_first=start.first_step
        )
        between = self._make_actions(metrics)
        watchdog = Watchdog(
            clock, self.settings.machine.hang_timeout_s, self.workers.index
        )
        with (
            self._sets_aside(progress.checked_step),
            self.signal,
            between.entered(),
            watchdog,
        ):
            between.profile.begin(progress.step)
            try:
                between.same_files()
                between.catch_up(progress, self.schedule)
                log("tracing the training step")
                start.lap("file checks")
                train(
                    distribution=self.distribution,
                    clock=clock,
                    run_steps=self._make_run_steps(clock),
                    pipeline=pipeline,
                    progress=progress,
                    schedule=self.schedule,
                    actions=list(between),
                    should_stop=self.should_stop,
                )
            except Interrupted:
                pass
            if self.stopped and between.save is not None:
                self.check_directory()
                between.save.save(progress, last=True)
        self.workers.gather(None)  # a barrier: the chief has saved
        return not self.stopped

    def _make_pipeline(self):
        """Returns the batches left to train on."""
        progress, schedule = self.progress, self.schedule
        epoch, step = divmod(progress.step, schedule.steps_per_epoch)
        return Pipeline(
            self.splits["train"],
            self.training.batch_size,
            epoch=epoch,
            step=step,
            epochs=None,
            steps=schedule.total_steps - progress.step,
            **self.distribution.share(),
        )

    def _make_run_steps(self, clock):
        """Returns the function that runs many training steps, for `train`."""
        progressive = self.training.eval == "progressive"
        train_step = make_train_step(
            self.model,
            self.groups,
            jit_compile=self.training.jit_compile,
            negative_rates=self.evaluator.negative_rates
            if progressive
            else None,
            clock=clock if self.distribution.times_exchange else None,
            parts=self.training.gradient_accumulation_steps,
        )
        tasks = len(self.tasks) if progressive else 0
        return make_run_steps(
            self.distribution.strategy, train_step, tasks, clock
        )

    def _make_actions(self, metrics):
        """Returns the actions; only the chief shows progress and saves."""
        training, schedule = self.training, self.schedule
        show = save = evaluate = None
        if self.workers.is_chief:
            show = actions.ShowProgress(schedule, self.progress.step)
        if self.workers.is_chief or self.shards is not None:
            save = SaveCheckpoint(
                make_writer(self.settings, self.check_directory)
                if self.workers.is_chief
                else None,
                schedule,
                functools.partial(read_slots, self.slots),
                metrics,
                self.shards,
            )
        if "valid" in self.splits:
            evaluate = actions.Evaluate(
                self.evaluator,
                self.splits["valid"],
                schedule,
                metrics,
                metric=training.early_stopping_metric,
                task=training.early_stopping_task or self.tasks[0],
                patience=training.patience,
                rates=self.rates,
            )
        bad = getattr(self.splits["train"], "bad", REFUSE)
        return actions.Actions(
            check=self.check_directory,
            profile=Profile(self.run_dir, self.profiled, self.workers.index),
            same_files=self._same_files(),
            record=records.WriteTraining(
                metrics, schedule, self.rates.dense, bad, self.workers
            ),
            show=show,
            progressive=records.Progressive(metrics, schedule, self.tasks),
            evaluate=evaluate,
            save=save,
        )

    def _same_files(self):
        """Returns the action that checks the files against those of the run."""
        keep = functools.partial(write_data, self.run_dir)
        if self.contents.expects or self.workers.count > 1:
            # Files of usual sizes are hashed before the first step.
            self.contents.wait(LONGEST_WAIT_S, self.signal)
        if self.workers.is_chief:
            same = SameFiles(self.workers, self.contents, keep)
        else:
            same = SameFiles(self.workers, self.contents)

        def check(*progress):
            same()
            if same.agreed:
                self.progress.checked_step = self.progress.step

        return check

    @contextlib.contextmanager
    def _sets_aside(self, step):
        """Sets aside checkpoints trained on files whose content changed."""
        try:
            yield
        except ContentError as error:
            if not self.workers.is_chief:
                raise
            count = store.set_aside(self.run_dir, step)
            raise ContentError(
                f"{error} {count} checkpoints of steps that had read it "
                "were set aside."
                if count
                else str(error)
            ) from error

    def check_directory(self, *progress):
        """Raises RunError if the run directory is no longer the same."""
        if self.held is not None:
            self.held.check()
