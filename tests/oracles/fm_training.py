"""Training of a factorization machine in float64 NumPy, step by step.

logit = b + sum_i w_i + sum_{i < j} <v_i, v_j> over rows (v_i, w_i): one of a
table for each id, and the numbers' x W + c.
"""

import dataclasses

import numpy as np

from tests.oracles.optimizers import Adam, rowwise_adagrad


@dataclasses.dataclass
class FM:
    """Weights of a factorization machine, and its training step.

    Args:
        tables: feature to its table, [rows, d + 1].
        kernel: W, [numbers, d + 1].
        offset: c, [d + 1].
        bias: b, [1].
        table_rate: learning rate of rowwise Adagrad, for the tables.
        rate: learning rate of Adam, for the other weights.
    """

    tables: dict[str, np.ndarray]
    kernel: np.ndarray
    offset: np.ndarray
    bias: np.ndarray
    table_rate: float
    rate: float

    def __post_init__(self):
        self.states = {n: np.zeros(len(t)) for n, t in self.tables.items()}
        self._adam = Adam(self.rate)

    def rows(self, ids, numbers):
        """Returns X_0, [B, n, d + 1]."""
        parts = [self.tables[name][ids[name]] for name in self.tables]
        return np.stack([*parts, numbers @ self.kernel + self.offset], axis=1)

    def logits(self, x):
        """Returns the logits [B], computed pair by pair."""
        logit = self.bias[0] + x[:, :, -1].sum(1)
        for i in range(x.shape[1]):
            for j in range(i):
                logit = logit + (x[:, i, :-1] * x[:, j, :-1]).sum(1)
        return logit

    def step(self, ids, numbers, labels) -> float:
        """Updates all weights; returns the loss before the update."""
        x = self.rows(ids, numbers)
        logit = self.logits(x)
        loss = np.mean(np.logaddexp(0, logit) - labels * logit)
        delta = (1 / (1 + np.exp(-logit)) - labels) / len(labels)  # [B]
        slope = np.ones_like(x)
        slope[:, :, :-1] = x[:, :, :-1].sum(1, keepdims=True) - x[:, :, :-1]
        slope *= delta[:, None, None]  # [B, n, d + 1]
        for index, (name, table) in enumerate(self.tables.items()):
            rowwise_adagrad(
                table,
                self.states[name],
                ids[name],
                slope[:, index],
                learning_rate=self.table_rate,
            )
        of_numbers = slope[:, -1]  # [B, d + 1]
        self._adam.step(
            [self.kernel, self.offset, self.bias],
            [
                numbers.T @ of_numbers,
                of_numbers.sum(0),
                delta.sum(keepdims=True),
            ],
        )
        return float(loss)
