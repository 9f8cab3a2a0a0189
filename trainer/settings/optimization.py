"""Settings of optimizers and learning rates, which a run records."""

import dataclasses
import typing
from typing import Literal

from trainer.settings.fields import Settings, setting
from wukong_tf.errors import ConfigError

# The models that have first-order weights.
FIRST_ORDER_MODELS = ("logistic_regression", "fm")
FIRST_ORDER_RATE = 0.05
# Ends each error of a loss or weights that are not finite.
IF_DIVERGED = (
    "A lower --learning_rate or --table_learning_rate, --clipnorm or "
    "--warmup_steps may help."
)
# Learning rate of the dense part, by model; of other models, the second.
DENSE_RATES = {"wukong": 2e-3}
DENSE_RATE = 1e-3
# By optimizer of the tables: their learning rate, and that of first-order
# tables over that of other first-order weights.
TABLE_RATES = {"rowwise_adagrad": 0.1, "adam": 1e-3}
FIRST_ORDER_FACTORS = {"rowwise_adagrad": 4, "adam": 1}
# The values of --learning_rate_schedule that flags apply to.
_DECAYING = ("linear", "cosine")
_SCHEDULES_OF = {
    "decay_steps": _DECAYING,
    "final_rate_fraction": (*_DECAYING, "plateau"),
    "plateau_factor": ("plateau",),
    "plateau_patience": ("plateau",),
    "decay_table_rate": (*_DECAYING, "plateau"),
}


@dataclasses.dataclass(frozen=True)
class Optimization(Settings):
    """Optimizers and learning rates."""

    learning_rate: float = setting(
        None,
        "Learning rate of the dense part. Default: 0.002 for --model=wukong "
        "with --dense_optimizer=adam, otherwise 0.001.",
    )
    table_learning_rate: float = setting(
        None,
        "Learning rate of tables. Default: 0.1 for --table_optimizer="
        "rowwise_adagrad, 0.001 for adam.",
    )
    table_optimizer: Literal["rowwise_adagrad", "adam"] = setting(
        "rowwise_adagrad",
        "Optimizer of tables. rowwise_adagrad reads and writes the rows of "
        "the batch and keeps one float of state per row. adam moves every row "
        "in every step, as L2 in the loss does, in O(rows) time, and keeps "
        "two floats for each number: for small tables.",
    )
    dense_optimizer: Literal["adam", "lion", "muon", "schedule_free"] = setting(
        "adam",
        "Keras optimizer of the dense part. adam with --weight_decay is "
        "AdamW. muon orthogonalizes the updates of matrices; other weights, "
        "and those of numbers, use AdamW. lion needs about a tenth of Adam's "
        "learning rate. schedule_free (AdamW) evaluates and saves its "
        "average of the weights.",
    )
    weight_decay: float = setting(
        0.0,
        "Decoupled weight decay of the dense part: a step subtracts learning "
        "rate * weight_decay * weight from each weight, except biases and "
        "norms.",
        minimum=0.0,
    )
    gradient_accumulation_steps: int = setting(
        1,
        "Number of parts into which a replica divides its share of the "
        "batch; their gradients are summed to one step. The step is that of "
        "the whole share, with the activations of one part in memory.",
        minimum=1,
    )
    embedding_l2: float = setting(
        0.0,
        "Weight decay of tables: adds embedding_l2 * row to the gradient of "
        "the rows that --embedding_l2_scope names.",
        minimum=0.0,
    )
    embedding_l2_scope: Literal["touched", "all"] = setting(
        "touched",
        "Rows that --embedding_l2 decays in a step. touched: those in the "
        "batch, once each, at no cost for the others. all: every row of "
        "every table in every step, which costs O(rows) time a step and "
        "several times the tables' memory.",
    )
    warmup_steps: int = setting(
        0,
        "Steps over which both learning rates rise linearly to their value.",
        minimum=0,
    )
    learning_rate_schedule: Literal[
        "constant", "linear", "cosine", "plateau"
    ] = setting(
        "constant",
        "Schedule of the learning rates after warm-up. linear, cosine: decay "
        "to --final_rate_fraction at --decay_steps. plateau: multiplied by "
        "--plateau_factor after --plateau_patience consecutive evaluations "
        "without improvement.",
    )
    decay_steps: int = setting(
        0,
        "Step at which linear and cosine end, including warm-up. Default: 0, "
        "the last step of --epochs, whatever --max_steps is.",
        minimum=0,
    )
    final_rate_fraction: float = setting(
        0.0,
        "Minimum learning rate of a schedule, as a fraction of the full one.",
        minimum=0.0,
        maximum=1.0,
    )
    plateau_factor: float = setting(
        0.1,
        "Factor of the learning rates on a plateau.",
        minimum=0.0,
        maximum=1.0,
    )
    plateau_patience: int = setting(
        1,
        "Number of evaluations without improvement that are a plateau.",
        minimum=1,
    )
    decay_table_rate: bool = setting(
        True,
        "Whether --learning_rate_schedule also applies to the tables' "
        "learning rate; warm-up always does.",
    )
    clipnorm: float = setting(
        0.0,
        "Maximum global norm of the dense part's gradient; 0 disables "
        "clipping.",
        minimum=0.0,
    )
    average_weights: float = setting(
        0.0,
        "Decay of a running average of the weights, such as 0.999, which "
        "is evaluated, saved and served instead of the last weights; 0 "
        "disables it. Tables are averaged only with --table_optimizer=adam, "
        "as that updates all their rows.",
    )
    first_order_learning_rate: float = setting(
        None,
        "Learning rate of the first-order weights of "
        "--model=logistic_regression and fm: those of numbers, and biases. "
        "Tables of logistic regression use four times this rate, or this "
        "rate with --table_optimizer=adam. Default: "
        f"{FIRST_ORDER_RATE}, or --learning_rate and --table_learning_rate "
        "if they are given for logistic regression.",
    )
    first_order_table_learning_rate: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.learning_rate is None:
            self._set("learning_rate", DENSE_RATE)
        if self.first_order_learning_rate is None:
            self._set("first_order_learning_rate", FIRST_ORDER_RATE)
        if self.table_learning_rate is None:
            rate = TABLE_RATES[self.table_optimizer]
            self._set("table_learning_rate", rate)
        if not self.first_order_table_learning_rate:
            factor = FIRST_ORDER_FACTORS[self.table_optimizer]
            rate = factor * self.first_order_learning_rate
            self._set("first_order_table_learning_rate", rate)
        for name in (
            "learning_rate",
            "table_learning_rate",
            "first_order_learning_rate",
        ):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"--{name} must be above 0; received {getattr(self, name)}."
                )
        if not 0 <= self.average_weights < 1:
            raise ConfigError(
                "--average_weights must be in [0, 1); received "
                f"{self.average_weights}."
            )
        self._check_schedule()
        if self.weight_decay and self.dense_optimizer == "schedule_free":
            raise ConfigError(
                "--dense_optimizer=schedule_free does not decay weights: "
                f"--weight_decay must be 0; received {self.weight_decay}."
            )
        if self.average_weights and self.dense_optimizer == "schedule_free":
            raise ConfigError(
                "--dense_optimizer=schedule_free averages weights by itself: "
                "--average_weights must be 0; received "
                f"{self.average_weights}."
            )

    def _check_schedule(self):
        schedule = self.learning_rate_schedule
        for field in dataclasses.fields(self):
            applies = _SCHEDULES_OF.get(field.name, (schedule,))
            value = getattr(self, field.name)
            if schedule not in applies and value != field.default:
                raise ConfigError(
                    f"--{field.name}={value} contradicts "
                    f"--learning_rate_schedule={schedule}; it applies only to "
                    f"{', '.join(applies)}."
                )
        if self.decay_steps and self.decay_steps <= self.warmup_steps:
            raise ConfigError(
                f"--decay_steps must be above --warmup_steps; received "
                f"{self.decay_steps} and {self.warmup_steps}."
            )

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    def with_rates_of(self, model: str, given: frozenset[str]) -> typing.Self:
        """Returns the settings with the learning rates of a model.

        Args:
            model: name of the model, as in --model.
            given: names of the flags that the user gave.
        """
        rates: dict[str, typing.Any] = {}
        if "learning_rate" not in given and self.dense_optimizer == "adam":
            rates["learning_rate"] = DENSE_RATES.get(model, DENSE_RATE)
        if (
            model == "logistic_regression"
            and "first_order_learning_rate" not in given
        ):
            for name in {"learning_rate", "table_learning_rate"} & given:
                rates[f"first_order_{name}"] = getattr(self, name)
        return dataclasses.replace(self, **rates)
