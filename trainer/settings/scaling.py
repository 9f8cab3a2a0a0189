"""Settings of `python -m trainer.scaling`."""

import dataclasses
import math

from trainer.settings.fields import (
    Settings,
    check_distinct,
    distinct_seeds,
    setting,
)
from wukong_tf.config import MODEL_CONFIGS
from wukong_tf.config.schema import repeated
from wukong_tf.errors import ConfigError

RUNGS = ("0.3", "1", "3", "10", "30")  # MFLOP per example


@dataclasses.dataclass(frozen=True)
class Scaling(Settings):
    """Scaling."""

    output: str = setting(
        None,
        "Directory of the runs, results.json, tables and plots. Created if "
        "missing; the same command resumes. Required.",
        needed=True,
    )
    results: tuple[str, ...] | None = setting(
        None,
        "Files results.json of one ladder or its parts: only draw tables and "
        "plots of them to --output, without training.",
    )
    models: tuple[str, ...] = setting(
        ("wukong",), "Models to train.", needed=True
    )
    rungs: tuple[str, ...] | None = setting(
        None,
        "Rungs of each model: training MFLOP per example, to which the recipe "
        "fits the sizes; with --ladder, names of its rungs. Default: "
        f"{','.join(RUNGS)}, or all of --ladder.",
    )
    ladder: str | None = setting(
        None,
        "TOML file with a table of sizes for each rung, [MODEL.RUNG]. "
        "Default: the recipe.",
    )
    seeds: tuple[str, ...] = setting(
        ("1", "2", "3"), "Seeds; each rung has a run for each."
    )
    rows: int = setting(
        0,
        "Train rows of each run, in one pass. Default: 0, the train split.",
        minimum=0,
    )
    learning_rates: tuple[str, ...] = setting(
        ("0.0005", "0.001", "0.002", "0.004"),
        "Learning rates of the dense part. Each rung tries them from the "
        "middle of the list, until those next to the best are worse; a single "
        "one is taken without a search.",
    )
    search_rows: int = setting(
        0,
        "Train rows on which a rung tries a rate. As many as --rows: the best "
        "run is the first seed's. Default: 0, an eighth of --rows.",
        minimum=0,
    )
    evaluations: int = setting(
        10,
        "Evaluations of a run on valid rows, after equal numbers of rows; "
        "fewer if the steps are not a multiple. The last window of progressive "
        "evaluation has one part in as many of the steps.",
        minimum=1,
    )
    plan: bool = setting(
        False, "Print the rungs, their costs and hours, and do not train."
    )
    tflops: float = setting(
        0.0,
        "TFLOP/s that training sustains here, for the hours of the plan. "
        "Default: 0, as measured by the largest run so far.",
        minimum=0.0,
    )
    resamples: int = setting(
        2000, "Resamples of the bootstrap.", minimum=100, maximum=100_000
    )
    plots: bool = setting(True, "Draw plots, if matplotlib is installed.")

    def __post_init__(self):
        super().__post_init__()
        check_distinct("models", self.models, MODEL_CONFIGS)
        for name in ("rungs", "results"):
            given = getattr(self, name)
            if given is not None and (
                not given or not all(given) or repeated(given)
            ):
                raise ConfigError(
                    f"--{name} must be distinct and not empty; received "
                    f"{','.join(given)!r}."
                )
        if self.results is not None:
            self._check_drawing()
        self.seed_numbers  # noqa: B018  raises early if invalid
        self.rates  # noqa: B018
        if self.ladder is None:
            self.targets  # noqa: B018

    def _check_drawing(self):
        """Raises ConfigError if a flag of training is set with --results."""
        drawing = ("output", "results", "resamples", "plots")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in drawing and value != field.default:
                raise ConfigError(
                    f"--results trains nothing; --{field.name} contradicts it."
                )

    @property
    def seed_numbers(self) -> list[int]:
        """The seeds as numbers."""
        return distinct_seeds("seeds", self.seeds)

    @property
    def rates(self) -> list[float]:
        """The learning rates, the lowest first."""
        return sorted(_positive("learning_rates", self.learning_rates))

    @property
    def targets(self) -> list[float]:
        """The rungs in MFLOP, the smallest first."""
        return sorted(_positive("rungs", self.rungs or RUNGS))


def _positive(name, texts) -> list[float]:
    """Returns numbers of a flag's texts.

    Raises:
        ConfigError: one is not a finite number above 0, or two are the same
            to six digits, with which their runs are named.
    """
    try:
        values = [float(text) for text in texts]
    except ValueError:
        values = []
    if (
        not values
        or repeated([f"{value:g}" for value in values])
        or not all(value > 0 and math.isfinite(value) for value in values)
    ):
        raise ConfigError(
            f"--{name} must be numbers above 0, distinct in six digits; "
            f"received {','.join(texts)!r}."
        )
    return values
