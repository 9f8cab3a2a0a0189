"""The Optuna study of one model, and its budget."""

import math
from typing import Any

from trainer.settings.training import HIGHER_IS_BETTER
from trainer.tuning.plan import Plan
from wukong_tf.errors import ConfigError, one_line, without_credentials

# Optuna is optional, and so are its types.
Trial = Any  # optuna.Trial
FrozenTrial = Any  # optuna.trial.FrozenTrial
SECONDS, ENDED_BY, ERROR = "seconds", "ended_by", "error"  # of a trial
PRUNED, TIMED_OUT = "pruned", "timed out"  # values of ENDED_BY


def open_store(url: str) -> Any:
    """Returns Optuna's store at a URL.

    Raises:
        ConfigError: it cannot be opened.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options: dict[str, Any] = {}
    if url.startswith("sqlite"):
        # Wait while a reader, such as a dashboard, has locked the file.
        options = {"engine_kwargs": {"connect_args": {"timeout": 60}}}
    try:
        return optuna.storages.RDBStorage(url, **options)
    except Exception as error:  # of any driver
        text = f"--storage={url} cannot be opened: {one_line(error)[:300]}"
        raise ConfigError(without_credentials(text)) from None


class ModelStudy:
    """The trials of a model.

    The suggestions for a trial depend on the seed, its number and the trials
    before, so an interrupted study resumes with the same ones.

    Args:
        store: Optuna's store.
        study_id: the id of the plan.
        model: name of the model.
        plan: the plan.

    Attributes:
        study: the `optuna.Study`.
        started: number of trials started so far.
        seconds: seconds that trials which are not running have run.
    """

    def __init__(self, store: Any, study_id: str, model: str, plan: Plan):
        import optuna

        maximize = plan.metric in HIGHER_IS_BETTER
        self.model = model
        self.study = optuna.create_study(
            storage=store,
            study_name=f"{study_id}/{model}",
            direction="maximize" if maximize else "minimize",
            pruner=optuna.pruners.MedianPruner(
                n_warmup_steps=plan.tune.prune_warmup
            )
            if plan.tune.prune
            else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        self._metric = plan.metric
        self._best: Any = max if maximize else min
        self._space = plan.spaces[model]
        self._tune = plan.tune
        trials = self.trials()
        self.started = len(trials)
        self.seconds = sum(t.user_attrs.get(SECONDS, 0.0) for t in trials)
        self._interrupted = [t for t in trials if not t.state.is_finished()]

    @property
    def begun(self) -> int:
        """Number of trials started and not waiting to be resumed."""
        return self.started - len(self._interrupted)

    def has_next(self) -> bool:
        """Returns whether the budget has trials left; minutes are apart."""
        return bool(self._interrupted) or self.started < self._tune.trials

    def next_trial(self) -> tuple[Trial, int]:
        """Returns a trial to run, and the number of values reported for it.

        Interrupted trials come first.
        """
        import optuna

        frozen = self._interrupted.pop(0) if self._interrupted else None
        number = self.started if frozen is None else frozen.number
        self.study.sampler = optuna.samplers.TPESampler(
            seed=self._tune.seed + number
        )
        if frozen is None:
            trial, reported = self.study.ask(), 0
            self.started += 1
        else:
            trial = optuna.Trial(self.study, frozen._trial_id)
            reported = len(frozen.intermediate_values)
        for flag, dimension in self._space.items():
            dimension.suggest(trial, flag)
        return trial, reported

    def params(self, trial: Trial) -> dict[str, Any]:
        """Returns the values of a trial's flags, as they are run."""
        return {
            flag: dimension.rounded(trial.params[flag])
            for flag, dimension in self._space.items()
            if flag in trial.params  # or a tuner was killed in between
        }

    def best_of(self, values: list[float]) -> float | None:
        """Returns the best finite value, or None if there is none."""
        finite = [value for value in values if math.isfinite(value)]
        return self._best(finite) if finite else None

    def best_trial(self) -> FrozenTrial | None:
        """Returns the best complete trial, or None if there is none."""
        done = [t for t in self.trials() if t.state.name == "COMPLETE"]
        return self._best(done, key=lambda t: t.value) if done else None

    def value_of(self, trial: FrozenTrial) -> float | None:
        """Returns the best value of a trial's evaluations.

        Optuna's own value of a pruned trial is that of its last evaluation.
        """
        if trial.state.name == "FAIL":
            return None
        return self.best_of([*trial.intermediate_values.values()])

    def trials(self) -> list[FrozenTrial]:
        """Returns all trials by number."""
        return self.study.get_trials(deepcopy=False)

    def ended_but_best(self) -> list[int]:
        """Returns the numbers of ended trials other than the best one."""
        best = self.best_trial()
        return [
            trial.number
            for trial in self.trials()
            if trial.state.is_finished()
            and (best is None or trial.number != best.number)
        ]

    def complete(self, trial: Trial, value: float) -> None:
        """Ends a trial that ran to its end."""
        self.study.tell(trial, value)

    def prune(self, trial: Trial, ended_by: str) -> None:
        """Ends a trial that was stopped, as PRUNED or TIMED_OUT."""
        import optuna

        trial.set_user_attr(ENDED_BY, ended_by)
        self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def abandon(self) -> None:
        """Ends interrupted trials that no minutes are left for."""
        import optuna

        for frozen in self._interrupted:
            self.prune(optuna.Trial(self.study, frozen._trial_id), TIMED_OUT)
        self._interrupted.clear()

    def fail(self, trial: Trial, error: str) -> None:
        """Ends a trial without a value."""
        import optuna

        trial.set_user_attr(ERROR, error)
        self.study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def describe(self, number: int) -> str:
        """Returns a line on how an ended trial ended."""
        trial, best = self.trials()[number], self.best_trial()
        seconds = f"{trial.user_attrs[SECONDS]:.0f} s"
        text = f"{state_of(trial)} after {seconds}"
        if ERROR in trial.user_attrs:
            text += f", {trial.user_attrs[ERROR]}"
        elif (value := self.value_of(trial)) is not None:
            text += f", {self._metric} {value:.6g}"
        if best is not None:
            text += f"; best is trial {best.number}, {best.value:.6g}"
        return text


def state_of(trial: FrozenTrial) -> str:
    """Returns "complete", "pruned", "timed out", "failed" or "running"."""
    name = trial.state.name.lower().replace("fail", "failed")
    return trial.user_attrs.get(ENDED_BY, name)
