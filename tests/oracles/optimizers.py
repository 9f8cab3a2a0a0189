"""Optimizers in float64 NumPy, one row and one step at a time."""

from collections.abc import Sequence

import numpy as np


def rowwise_adagrad(
    table: np.ndarray,
    state: np.ndarray,
    ids: Sequence[int],
    gradients: np.ndarray,
    *,
    learning_rate: float,
    epsilon: float = 1e-8,
    l2: float = 0.0,
) -> None:
    """Updates `table` [rows, ...] and `state` [rows] by one step, in place.

    Args:
        table: float64 table.
        state: float64, one accumulator per row.
        ids: rows that the batch looked up, [N], including duplicates.
        gradients: [N, ...], one for each of `ids`.
        learning_rate: learning rate of this step.
        epsilon: added to the root. Defaults to 1e-8.
        l2: factor of the row that is added to its gradient, once. Defaults
            to 0.0.
    """
    for row in sorted(set(int(each) for each in ids)):
        gradient = np.zeros(table.shape[1:])
        for each, part in zip(ids, gradients, strict=True):
            if each == row:
                gradient = gradient + part
        gradient = gradient + l2 * table[row]
        state[row] += np.mean(gradient**2)
        table[row] -= learning_rate * gradient / (np.sqrt(state[row]) + epsilon)


class Adam:
    """Adam in the efficient order of computation of Kingma and Ba."""

    def __init__(self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, eps=1e-7):
        self.learning_rate = learning_rate
        self.beta_1, self.beta_2, self.eps = beta_1, beta_2, eps
        self.steps = 0
        self.moments: list[list[np.ndarray]] = []

    def step(
        self, variables: list[np.ndarray], gradients: list[np.ndarray]
    ) -> None:
        """Updates all variables by one step, in place."""
        if not self.moments:
            self.moments = [[0.0 * v, 0.0 * v] for v in variables]
        self.steps += 1
        correction = np.sqrt(1.0 - self.beta_2**self.steps) / (
            1.0 - self.beta_1**self.steps
        )
        for variable, gradient, pair in zip(
            variables, gradients, self.moments, strict=True
        ):
            pair[0] = self.beta_1 * pair[0] + (1.0 - self.beta_1) * gradient
            pair[1] = self.beta_2 * pair[1] + (1.0 - self.beta_2) * gradient**2
            variable -= (
                self.learning_rate
                * correction
                * pair[0]
                / (np.sqrt(pair[1]) + self.eps)
            )


def clip_by_global_norm(
    gradients: list[np.ndarray], limit: float
) -> list[np.ndarray]:
    """Returns all gradients, scaled to a global norm of at most `limit`."""
    norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
    return [gradient * min(1.0, limit / norm) for gradient in gradients]
