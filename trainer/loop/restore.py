"""Restores the state that a run resumes from or starts with."""

import functools
import os

from trainer.checkpoints import store
from trainer.loop import actions
from trainer.loop.optimizers import make_optimizers
from trainer.loop.progress import Progress
from trainer.loop.session import Session
from trainer.process.console import log
from trainer.settings import DTYPES
from trainer.settings.model import flag_text
from wukong_tf import runs
from wukong_tf.errors import RunError
from wukong_tf.models import build_model
from wukong_tf.runs.arrays import assign_slots, model_slots, training_slots
from wukong_tf.runs.views import Trained
from wukong_tf.runs.warm_start import carry_over


def restore(session: Session):
    """Resumes from the newest intact checkpoint, if there is one.

    Otherwise warm-starts from the run that --init_from names, if set.
    """
    newest = _newest_whole(session)
    if newest is None:
        init_from = session.settings.run.init_from
        session.progress.init = (
            _start_from(session, init_from) if init_from else {}
        )
        return
    assign_slots(session.slots, newest)
    # Checkpoints of older versions lack `checked_step`.
    session.progress = Progress(**{"checked_step": newest.step, **newest.state})
    _restore_best(session)
    # --patience may have changed.
    session.progress.stopped_early = actions.patience_is_out(
        session.progress.evaluations, session.training.patience
    )
    session.rates.follow(session.progress.evaluations)
    log(f"resuming from step {newest.step} ({newest.path})")


def best_checkpoint(session: Session) -> runs.Checkpoint:
    """Returns the best intact checkpoint, or the latest if none is evaluated.

    Raises:
        RunError: this worker can read no such checkpoint.
    """
    checkpoint = _restore_best(session)
    if checkpoint is not None:
        return checkpoint
    best = [e["step"] for e in session.progress.evaluations if e["best"]]
    return runs.find_checkpoint(session.run_dir, best[-1] if best else "latest")


def _restore_best(session) -> runs.Checkpoint | None:
    """Restores the best checkpoint on the chief; None on other workers."""
    metric = session.training.early_stopping_metric
    evaluations = session.progress.evaluations
    best = None
    if session.workers.is_chief:
        best = store.restore_best(
            session.run_dir,
            evaluations,
            metric,
            functools.partial(actions.is_better, metric),
            log,
        )
    evaluations[:] = session.workers.from_chief(evaluations)
    return best


def _newest_whole(session) -> runs.Checkpoint | None:
    """Returns the checkpoint that the chief resumes from, or None."""
    newest = None
    if session.workers.is_chief:
        newest = store.newest_whole(session.run_dir, log)
    step = session.workers.from_chief(newest and newest.step)
    if step is None or newest is not None:
        return newest
    path = dict(runs.checkpoint_paths(session.run_dir)).get(step)
    if path is None:
        raise RunError(
            f"--run_dir={session.run_dir}: the chief resumes from step "
            f"{step}, which worker {session.workers.index} does not see; the "
            "run directory must be on a file system that all workers share."
        )
    return runs.open_checkpoint(path)


def _start_from(session, run_dir):
    """Warm-starts from another run: copies the arrays that fit the model.

    Returns:
        The run, as in `Progress.init`.
    """
    source = runs.find_checkpoint(run_dir, session.settings.run.init_checkpoint)

    def make_slots(config):
        model = build_model(config, dtype=DTYPES[session.training.precision])
        groups = make_optimizers(model, session.training)
        groups.build()
        return training_slots(model, groups)

    slots = session.slots
    takes_optimizer = session.settings.run.init_optimizer
    if not takes_optimizer:
        slots = model_slots(session.model)
    config = runs.read_model_config(run_dir)
    report = carry_over(
        config,
        Trained(source),
        session.model.config,
        slots,
        make_slots,
    )
    if session.groups.average is not None and not takes_optimizer:
        session.groups.average.restart()
    log(f"starting from {source.path}")
    for line in report.lines():
        log(f"  {line}")
    now = session.model.config
    if changed := now.differences(config):
        changed = [
            f"--{name} was {flag_text(getattr(config, name))}, is "
            f"{flag_text(getattr(now, name))}"
            for name in changed
        ]
        log(
            "warning: it is another model, so its weights give other scores "
            f"here: {'; '.join(changed)}"
        )
    trained = [source.state.get("rows")]
    if before := source.state.get("init"):
        trained.append(before["rows"])
    return {
        "name": os.path.basename(os.path.abspath(run_dir)),
        "run": runs.read_config(run_dir).get("run"),
        "step": source.step,
        "rows": None if None in trained else sum(trained),
    }
