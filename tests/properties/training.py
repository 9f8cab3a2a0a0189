"""Steps of training over all rows at once, and runs that hold their state."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.properties import routes
from tests.properties.logs import Row
from tests.worlds import small_runs
from trainer.checkpoints import store
from trainer.data.pipeline import GLOBAL_ROWS
from trainer.loop.steps import make_train_step
from wukong_tf import runs
from wukong_tf.config import FeatureSpec, ModelConfig
from wukong_tf.features import encode
from wukong_tf.models import build_model
from wukong_tf.optimizers import ClippedAdam, OptimizerGroups, RowwiseAdagrad
from wukong_tf.optimizers.groups import TABLES
from wukong_tf.rows import columns
from wukong_tf.rows.bad_values import Count
from wukong_tf.rows.checks import checks_from_spec
from wukong_tf.runs import warm_start
from wukong_tf.runs.arrays import assign_slots, read_arrays, training_slots


class Trained:
    """A model with its optimizers.

    Args:
        config: of the model.
    """

    def __init__(self, config: ModelConfig):
        self.config = config
        self.model = build_model(config)
        self.groups = OptimizerGroups(
            self.model.trainable_variables,
            {
                "tables": (RowwiseAdagrad(0.1), TABLES),
                "dense": (ClippedAdam(0.01), None),
            },
        )
        self.groups.build()
        self.slots = training_slots(self.model, self.groups)

    def arrays(self) -> dict[str, np.ndarray]:
        """Every weight and the state of the optimizers, by name."""
        return read_arrays(self.slots)

    def randomize(self, seed: int):
        """Draws everything; squares that steps divide by are not small."""
        random = np.random.default_rng(seed)
        for slot in self.slots:
            kind = np.dtype(str(slot.variable.dtype)).kind
            value = random.normal(0.1, 0.5, slot.shape)
            if slot.name.startswith("optimizer/"):
                value = random.uniform(0.5, 1.0, slot.shape)
            if kind != "f":
                value = np.full(slot.shape, 10)
            if "learning_rate" not in slot.name:
                assign_slots(
                    [slot], {slot.name: value.astype(str(slot.variable.dtype))}
                )

    def step(self, rows: list[Row]):
        """One step over all rows."""
        spec = self.config.features
        batch = {
            **encode(spec, batch_of(spec, rows)),
            **{
                task.label: np.array([r[task.label] for r in rows], "float32")
                for task in spec.tasks
            },
            GLOBAL_ROWS: np.float32(len(rows)),
        }
        tensors = {name: tf.constant(value) for name, value in batch.items()}
        make_train_step(self.model, self.groups)(tensors)

    def score(self, rows: list[Row]) -> dict[str, np.ndarray]:
        """Logits by task, as they are served."""
        spec = self.config.features
        found = self.model(encode(spec, batch_of(spec, rows)))
        found = self.model.served_logits(found)
        return {task: value.numpy()[:, 0] for task, value in found.items()}

    def save(self, run_dir: Path, step: int):
        """A run directory, or one more checkpoint in it."""
        if not run_dir.is_dir():
            small_runs.write_config(run_dir, self.config)
        store.save(str(run_dir), step, {}, self.arrays().items())


def resumed(run_dir: Path) -> Trained:
    """What a run's newest checkpoint goes on from."""
    found = Trained(runs.read_model_config(str(run_dir)))
    assign_slots(found.slots, runs.find_checkpoint(str(run_dir), "latest"))
    return found


def warm_started(config: ModelConfig, old: Trained) -> Trained:
    """A model that starts from another's weights and optimizers."""
    new = Trained(config)
    report = warm_start.carry_over(
        old.config,
        old.arrays(),
        config,
        new.slots,
        lambda each: Trained(each).slots,
    )
    assert not report.new and not report.dropped, report.lines()
    return new


def batch_of(spec: FeatureSpec, rows: list[Row]):
    """Raw rows as the trainer reads them, what is missing as missing."""
    return columns.read_table(
        "rows",
        0,
        routes.table(spec, rows),
        spec,
        checks_from_spec(spec, labels=False),
        Count(),
    )
