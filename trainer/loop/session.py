"""Puts a run together: model, optimizers, data, and what happens between."""

import contextlib
import functools

from absl import flags

from trainer import run_config
from trainer.checkpoints import store
from trainer.checkpoints.run_directory import HeldDirectory, write_data
from trainer.checkpoints.writer import CheckpointWriter, Retention
from trainer.console import log
from trainer.data.content import Contents
from trainer.data.pipeline import Pipeline
from trainer.data.source import Source, steps_per_epoch
from trainer.distribution.agreement import SameFiles
from trainer.distribution.strategies import Distribution
from trainer.loop import actions, metrics_log, records
from trainer.loop.evaluator import Evaluator, Interrupted
from trainer.loop.optimizers import (
    dense_rate,
    describe_ways,
    make_optimizers,
    table_ways,
    vary_dropout,
)
from trainer.loop.outer import make_run_steps, train
from trainer.loop.profiling import Profile, parse_steps
from trainer.loop.progress import Progress, Schedule, Window
from trainer.loop.step_clock import StepClock
from trainer.loop.steps import make_train_step
from trainer.loop.watchdog import Watchdog
from trainer.placement.tables import Placement
from trainer.stop_signal import STOP
from wukong_tf import runs
from wukong_tf.config import ModelConfig
from wukong_tf.errors import ContentError, RunError
from wukong_tf.models import build_model
from wukong_tf.optimizers import LinearWarmup
from wukong_tf.rows.bad_values import REFUSE
from wukong_tf.runs.arrays import (
    Trained,
    assign_slots,
    model_slots,
    read_slots,
    training_slots,
)
from wukong_tf.runs.warm_start import carry_over

LONGEST_WAIT_S = 5.0  # for the content of files, before the first step


def make_schedule(
    source: Source,
    training: run_config.Training,
    profile: tuple[int, int] | None = None,
) -> Schedule:
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
        also=profile or (),
    )


class Session:
    """One run, or a worker's part in it.

    Args:
        values: the parsed flags.
        distribution: where to compute.
        config: the model.
        splits: the sources by split.
        placement: where the tables lie.
        contents: the files of the splits, which are being read.
        held: the run directory, on the chief. Defaults to None.
    """

    def __init__(
        self,
        values: flags.FlagValues,
        distribution: Distribution,
        config: ModelConfig,
        splits: dict[str, Source],
        placement: Placement,
        contents: Contents,
        held: HeldDirectory | None = None,
    ):
        self.held = held
        self.contents = contents
        self.values = values
        self.run_dir = values.run_dir
        self.training = run_config.training_from_flags(values)
        self.distribution = distribution
        self.workers = distribution.workers
        self.splits = splits
        self.profiled = parse_steps(values.profile_steps)
        self.schedule = make_schedule(
            splits["train"], self.training, self.profiled
        )
        self.progress = Progress()
        self.signal = STOP
        self.stopped = False
        with distribution.strategy.scope():
            self.model = build_model(
                config,
                lookup=self.training.lookup,
                dtype=run_config.DTYPES[self.training.precision],
                host_tables=placement.host_tables,
                **({"remat": True} if self.training.remat else {}),
            )
            if distribution.replicas > 1:
                vary_dropout(self.model)
            self.ways = table_ways(
                self.model,
                self.training,
                distribution.replicas,
                values.table_exchange,
            )
            self.groups = make_optimizers(self.model, self.training, self.ways)
            self.groups.build()
        self.slots = training_slots(self.model, self.groups)
        self.evaluator = Evaluator(
            distribution,
            self.model,
            self.training.eval_batch_size,
            self.should_stop,
            values.eval_negative_rate,
        )
        if self.groups.average is not None:
            self.evaluator.weights = self.groups.average.applied

    def describe_exchange(self) -> list[str]:
        """How replicas and workers share the run, for the log."""
        lines = []
        if self.distribution.replicas > 1:
            lines += describe_ways(self.model, self.ways)
        workers, lanes = self.workers.count, self.training.data_lanes
        if workers > 1 and lanes % workers and not self.values.synthetic:
            lines.append(
                f"each of {workers} workers reads rows of others too, since "
                f"--data_lanes={lanes} is no multiple of their number"
            )
        return lines

    def restore(self):
        """Goes on from the newest whole checkpoint, if there is one.

        Otherwise from another run's, if --init_from names one.
        """
        found = self._newest_whole()
        if found is None:
            if self.values.init_from:
                self.start_from(self.values.init_from)
            return
        assign_slots(self.slots, found)
        self.progress = Progress(**found.state)
        metric = self.training.early_stopping_metric
        evaluations = self.progress.evaluations
        if self.workers.is_chief:
            store.restore_best(
                self.run_dir,
                evaluations,
                metric,
                functools.partial(actions.is_better, metric),
                log,
            )
        evaluations[:] = self.workers.from_chief(evaluations)
        # --patience may be another one now.
        self.progress.stopped_early = actions.patience_is_out(
            self.progress.evaluations, self.training.patience
        )
        log(f"going on from step {found.step} ({found.path})")

    def _newest_whole(self) -> runs.Checkpoint | None:
        """The checkpoint that the chief goes on from."""
        found = None
        if self.workers.is_chief:
            found = store.newest_whole(self.run_dir, log)
        step = self.workers.from_chief(found and found.step)
        if step is None or found is not None:
            return found
        path = dict(runs.checkpoint_paths(self.run_dir)).get(step)
        if path is None:
            raise RunError(
                f"--run_dir={self.run_dir}: the chief goes on from step "
                f"{step}, which worker {self.workers.index} does not see; the "
                "run directory must be on a file system that all workers share."
            )
        return runs.open_checkpoint(path)

    def should_stop(self) -> bool:
        """Whether any worker was told to stop; asked by all at once."""
        self.stopped = self.stopped or self.workers.any(self.signal())
        return self.stopped

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
        metrics: metrics_log.Metrics = metrics_log.NoMetrics()
        chief: list = []  # what the chief alone does
        save = show = None
        if self.workers.is_chief:
            metrics = metrics_log.MetricsLog(self.run_dir, progress.step)
            show = actions.ShowProgress(schedule, progress.step)
            save = self._make_save(metrics)
            chief = [show, save]
        clock = StepClock(self.distribution.local_replicas)
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
        rate = LinearWarmup(
            dense_rate(self.model.config, training), training.warmup_steps
        )
        record = records.WriteTraining(
            metrics,
            schedule,
            rate,
            getattr(self.splits["train"], "bad", REFUSE),
            self.workers,
        )
        epoch, step = divmod(progress.step, schedule.steps_per_epoch)
        pipeline = Pipeline(
            self.splits["train"],
            training.batch_size,
            epoch=epoch,
            step=step,
            epochs=None,
            steps=schedule.total_steps - progress.step,
            **self.distribution.share(),
        )
        worker = self.workers.index
        profile = Profile(self.run_dir, self.profiled, worker)
        watchdog = Watchdog(clock, self.values.hang_timeout_s, worker)
        same_files = self._same_files()
        with (
            self._sets_aside(progress.step),
            self.signal,
            contextlib.ExitStack() as closing,
        ):
            for context in (*chief, profile, watchdog):
                closing.enter_context(context)
            profile.begin(progress.step)
            try:
                same_files()
                if evaluate is not None:
                    self._catch_up(evaluate, save)
                train(
                    distribution=self.distribution,
                    clock=clock,
                    run_steps=make_run_steps(
                        self.distribution.strategy,
                        make_train_step(
                            self.model,
                            self.groups,
                            jit_compile=training.jit_compile,
                            negative_rates=self.evaluator.negative_rates
                            if progressive
                            else None,
                            clock=clock
                            if self.distribution.times_exchange
                            else None,
                        ),
                        len(tasks) if progressive else 0,
                        clock,
                    ),
                    pipeline=pipeline,
                    progress=progress,
                    schedule=schedule,
                    actions=[
                        self._check_directory,
                        same_files,
                        profile,
                        record,
                        *chief[:1],
                        records.Progressive(metrics, schedule, tasks),
                        *([] if evaluate is None else [evaluate]),
                        *chief[1:],
                    ],
                    should_stop=self.should_stop,
                )
            except Interrupted:
                pass
            if self.stopped and save is not None:
                self._check_directory()
                save.save(progress)
        self.workers.gather(None)  # The chief has written what it had to.
        return not self.stopped

    def _same_files(self):
        keep = functools.partial(write_data, self.run_dir)
        if self.contents.expects or self.workers.count > 1:
            # Files of usual sizes are known before the first step.
            self.contents.wait(LONGEST_WAIT_S, self.signal)
        if self.workers.is_chief:
            return SameFiles(self.workers, self.contents, keep)
        return SameFiles(self.workers, self.contents)

    @contextlib.contextmanager
    def _sets_aside(self, step):
        """Leaves no checkpoint of steps that saw files of another content."""
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

    def _check_directory(self, *progress):
        """Stops a run whose directory is no longer the one it began in."""
        if self.held is not None:
            self.held.check()

    def _make_save(self, metrics):
        training = self.training
        writer = CheckpointWriter(
            self.run_dir,
            Retention(
                training.keep_checkpoints,
                training.keep_checkpoint_every_steps,
                training.early_stopping_metric,
            ),
            log,
            in_background=self.values.async_checkpoints,
            retry_s=self.values.checkpoint_retry_s,
        )
        return actions.SaveCheckpoint(
            writer, self.schedule, lambda: read_slots(self.slots), metrics
        )

    def _catch_up(self, evaluate, save):
        """The evaluation that a stop may have cut short."""
        progress = self.progress
        done = [evaluation["step"] for evaluation in progress.evaluations]
        due = self.schedule.evaluates_at(progress.step)
        if progress.step and due and progress.step not in done:
            window = Window(max(0, progress.step - 1), 0, 0, 0.0, 0.0, 0.0)
            evaluate(progress, window)
            if save is not None:
                save(progress, window)
