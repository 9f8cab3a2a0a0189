"""The compute-optimal frontier: the best rung for a budget of FLOP."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from trainer.scaling_law.records import Record, by_rung


@dataclasses.dataclass(frozen=True)
class Choice:
    """The rung with the least loss for a budget.

    Args:
        budget: training FLOP of all rows together.
        rung: name of the rung.
        training_flop: its FLOP per example.
        rows: rows that the budget trains it on, at most those measured.
        loss: its excess LogLoss after them, or LogLoss if the floor is not
            known, on valid rows.
        inside: whether a smaller and a larger rung were measured at the
            whole budget, both worse.
    """

    budget: float
    rung: str
    training_flop: int
    rows: float
    loss: float
    inside: bool


def curves(
    records: Sequence[Record],
) -> list[tuple[Record, np.ndarray, np.ndarray]]:
    """Returns rows and mean loss of each rung of a model, the cheapest first.

    The loss is the excess over the attainable LogLoss if that is known. Only
    evaluations that all seeds have, and losses above 0, are taken; a rung
    without any is left out.
    """
    listed = []
    for seeds in by_rung(records):
        seen = [{rows for rows, _ in record.curve} for record in seeds]
        rows = np.array(sorted(set.intersection(*seen)), float)
        loss = np.array(
            [np.mean([r.curve_loss(n) for r in seeds]) for n in rows]
        )
        if (loss > 0).any():
            listed.append((seeds[0], rows[loss > 0], loss[loss > 0]))
    return listed


def frontier(records: Sequence[Record]) -> list[Choice]:
    """Returns the best rung of a model for budgets a factor of two apart.

    Between its evaluations, a rung's loss is interpolated on log axes; beyond
    the last, it stays.
    """
    drawn = curves(records)
    if len(drawn) < 2:
        return []
    low = min(r.training_flop * rows[0] for r, rows, _ in drawn)
    high = max(r.training_flop * rows[-1] for r, rows, _ in drawn)
    choices = []
    for budget in low * 2.0 ** np.arange(np.floor(np.log2(high / low)) + 1):
        losses, whole = {}, []  # by index of the rung
        for at, (record, rows, loss) in enumerate(drawn):
            wanted = budget / record.training_flop
            # A rounding error must not lose an end.
            if rows[0] * 0.999 <= wanted:
                value = np.interp(np.log(wanted), np.log(rows), np.log(loss))
                losses[at] = float(np.exp(value))
                if wanted <= rows[-1] * 1.001:
                    whole.append(at)
        if len(losses) < 2:
            continue
        best = min(losses, key=lambda at: losses[at])
        record, rows, _ = drawn[best]
        choices.append(
            Choice(
                budget=float(budget),
                rung=record.rung,
                training_flop=record.training_flop,
                rows=min(float(budget) / record.training_flop, float(rows[-1])),
                loss=losses[best],
                inside=best in whole and min(whole) < best < max(whole),
            )
        )
    return choices
