"""What the runs of a ladder share, and what they will cost."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.scaling_law import search
from trainer.scaling_law.records import Record, Rung
from trainer.settings import Settings, command
from trainer.settings.scaling import Scaling
from trainer.tuning import study
from trainer.tuning.flags import TRACKING, Flags, flag_of
from wukong_tf.errors import ConfigError

# Flags that the ladder sets itself, so that all runs have one budget.
OWN = (
    "decay_steps",
    "epochs",
    "eval",
    "eval_every_steps",
    "init_from",
    "keep_checkpoints",
    "learning_rate",
    "max_steps",
    "patience",
    "preset",
    "progressive_window_rows",
)
SEARCH_SHARE = 8  # --rows for one of --search_rows
PF_DAY = 1e15 * 86_400


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all runs share.

    Args:
        base: flags of the trainer.
        task: name of the task that metrics are of.
        batch_size: rows of a training step.
        steps: training steps of a run.
        search_steps: training steps with each learning rate of a search.
        content: what makes results comparable, as JSON values.
    """

    base: Flags
    task: str
    batch_size: int
    steps: int
    search_steps: int
    content: dict[str, Any]

    @property
    def searches_all_rows(self) -> bool:
        """Whether the best run of a search is that of the first seed."""
        return self.search_steps == self.steps

    def run_flags(self, rung: Rung, rate: float) -> list[str]:
        """Returns flags of a run of one pass, without those of its place."""
        every, window = evaluated_steps(self.steps, self.content["evaluations"])
        return self._flags(rung, rate, self.steps, every) + [
            flag_of("eval", "progressive"),
            flag_of("progressive_window_rows", window * self.batch_size),
        ]

    def search_flags(self, rung: Rung, rate: float) -> list[str]:
        """Returns flags of a run of a search, without those of its place."""
        steps = self.search_steps
        return self._flags(rung, rate, steps, steps) + [
            flag_of("eval", "progressive"),
            flag_of("splits", "train,valid"),
        ]

    def _flags(self, rung, rate, steps, every) -> list[str]:
        sizes = {name: flag_of(name, v) for name, v in rung.sizes.items()}
        schedule = self.base.get("learning_rate_schedule", "")
        decays = schedule.endswith(("=linear", "=cosine"))
        return [
            *([flag_of("decay_steps", steps)] if decays else []),
            flag_of("model", rung.model),
            *({**self.base, **sizes}.values()),
            flag_of("learning_rate", rate),
            flag_of("max_steps", steps),
            flag_of("eval_every_steps", every),
            flag_of("keep_checkpoints", 1),
            flag_of("importance_rows", 0),
            flag_of("plots", False),
        ]


def evaluated_steps(steps: int, evaluations: int) -> tuple[int, int]:
    """Returns the steps between evaluations, and those of the last window."""
    return -(-steps // evaluations), max(1, steps // evaluations)


def make(scaling: Scaling, base: Flags) -> Plan:
    """Returns the plan; reads every file of the data for its SHA-256.

    Raises:
        ConfigError: a flag of the trainer is one that the ladder sets, a
            split is not given, or there are too few rows.
        DataError: a file is missing or invalid.
    """
    for name in OWN:
        if name in base:
            raise ConfigError(
                f"--{name} must not be among the trainer's flags; the ladder "
                f"sets it for all runs."
            )
    settings = command.check(["--run_dir=RUN", *base.values()])
    batch_size = settings.training.batch_size
    train_rows = _train_rows(settings)
    rows = scaling.rows or train_rows
    search_rows = scaling.search_rows or max(rows // SEARCH_SHARE, batch_size)
    for name, count, most, of in (
        ("rows", rows, train_rows, f"the {train_rows:,} train rows"),
        ("search_rows", search_rows, rows, f"--rows, {rows:,}"),
    ):
        if not batch_size <= count <= most:
            raise ConfigError(
                f"--{name} must be at least --batch_size={batch_size} and at "
                f"most {of}; received {count:,}."
            )
    splits = ["train", "valid"]
    if not settings.data.synthetic and settings.data.files("test"):
        splits.append("test")
    content: dict[str, Any] = {
        "task": study.task_of(settings),
        "rows": rows // batch_size * batch_size,
        "search_rows": search_rows // batch_size * batch_size,
        "learning_rates": scaling.rates,
        "evaluations": scaling.evaluations,
        "data": study.data_of(settings, splits, "a ladder"),
        "flags": {
            name: text for name, text in base.items() if name not in _PLACES
        },
        "versions": study.versions_of(*study.PACKAGES),
    }
    return Plan(
        base=base,
        task=content["task"],
        batch_size=batch_size,
        steps=rows // batch_size,
        search_steps=search_rows // batch_size,
        content=content,
    )


# Flags that differ between machines and do not change what is measured.
_PLACES = {
    *TRACKING,
    *("data_dir", "features", "train_files", "valid_files", "test_files"),
    *("jit_compile", "intra_op_threads", "inter_op_threads"),
}


def _train_rows(settings: Settings) -> int:
    if settings.data.synthetic:
        return settings.data.synthetic_train_rows
    from trainer.data.spec import open_features
    from trainer.data.splits import num_train_rows

    rows = num_train_rows(settings.data, open_features(settings))
    if rows is None:
        raise ConfigError(
            "a ladder needs train rows; give --data_dir with train*.parquet "
            "in it, or --train_files, after --."
        )
    return rows


def tried(
    plan: Plan,
    scaling: Scaling,
    rung: Rung,
    searches: Sequence[Mapping[str, Any]],
    done: Sequence[Record],
) -> search.Losses:
    """Returns the LogLoss of each learning rate tried for a rung."""
    first = scaling.seed_numbers[0]
    firsts = [record for record in done if record.seed == first]
    return search.losses_of(
        rung, searches, firsts if plan.searches_all_rows else ()
    )


def describe(
    plan: Plan,
    scaling: Scaling,
    rungs: Sequence[Rung],
    searches: Sequence[Mapping[str, Any]] = (),
    done: Sequence[Record] = (),
) -> list[str]:
    """Returns lines on the rungs, what is left of them and its time.

    Args:
        plan: what all runs share.
        scaling: settings of the ladder.
        rungs: the rungs.
        searches: results of the searches' runs so far.
        done: records of the ended runs.
    """
    seeds, rates = scaling.seed_numbers, plan.content["learning_rates"]
    rows, search_rows = plan.content["rows"], plan.content["search_rows"]
    search_first = ""
    if len(rates) > 1:
        search_first = (
            f"at most {len(rates)} learning rates on {search_rows:,} rows, "
            "then "
        )
    lines = [
        f"each rung: {search_first}{len(seeds)} seeds on {rows:,} rows in one "
        "pass, the same for all models",
    ]
    left = 0.0
    have = {record.key for record in done}
    for rung in rungs:
        missing = [s for s in seeds if (rung.model, rung.rung, s) not in have]
        losses = tried(plan, scaling, rung, searches, done)
        tries = search.most_left(rates, losses)
        count = rows * len(missing) + search_rows * tries
        if plan.searches_all_rows and seeds[0] in missing and tries:
            count -= rows  # the best of the search is the first seed's run
        left += rung.training_flop * count
        lines.append(
            f"{rung}: {rung.training_flop / 1e6:.3g} MFLOP per example, "
            f"{rung.dense_parameters:,} dense parameters, "
            f"{rung.table_parameters:,} in tables; {len(missing)} runs and at "
            f"most {tries} tries left, "
            f"{rung.training_flop * count / 1e12:,.3g} TFLOP"
        )
    speed, source = scaling.tflops * 1e12, "--tflops"
    if not speed and done:
        largest = max(done, key=lambda record: record.training_flop)
        speed = largest.training_flop * largest.rows / largest.seconds
        source = f"{speed / 1e12:.3g} TFLOP/s of the largest run so far"
    text = f"left: {left / 1e12:,.3g} TFLOP ({left / PF_DAY:.2g} PF-days)"
    if speed:
        text += f", {left / speed / 3600:.3g} hours by {source}"
    else:
        text += "; --tflops gives its hours, as will the first runs"
    return [*lines, text]
