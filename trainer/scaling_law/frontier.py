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
        rows: rows after which its loss is the least within the budget.
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


def _least(rows, loss, wanted) -> tuple[float, float]:
    """Returns the least loss after at most the wanted rows, and its rows."""
    last = min(wanted, rows[-1])
    at_last = np.exp(np.interp(np.log(last), np.log(rows), np.log(loss)))
    before = [*zip(loss[rows < last], rows[rows < last], strict=True)]
    least, seen = min([*before, (at_last, last)])
    return float(least), float(seen)


def frontier(records: Sequence[Record]) -> list[Choice]:
    """Returns the best rung of a model for budgets a factor of two apart.

    The largest budget is that of the largest rung's rows. Between its
    evaluations, a rung's loss is interpolated on log axes. Budgets that only
    one rung was evaluated within are left out.
    """
    drawn = curves(records)
    if len(drawn) < 2:
        return []
    low = min(r.training_flop * rows[0] for r, rows, _ in drawn)
    high = max(r.training_flop * rows[-1] for r, rows, _ in drawn)
    choices = []
    budgets = low * 2.0 ** np.arange(np.floor(np.log2(high / low)) + 1)
    if budgets[-1] < high * 0.999:
        budgets = np.append(budgets, high)
    for budget in budgets:
        found, whole = {}, []  # by index of the rung
        for at, (record, rows, loss) in enumerate(drawn):
            wanted = budget / record.training_flop
            # A rounding error must not lose an end.
            if rows[0] * 0.999 <= wanted:
                found[at] = _least(rows, loss, wanted)
                if wanted <= rows[-1] * 1.001:
                    whole.append(at)
        if len(found) < 2:
            continue
        best = min(found, key=lambda at: found[at])
        record, _, _ = drawn[best]
        least, seen = found[best]
        choices.append(
            Choice(
                budget=float(budget),
                rung=record.rung,
                training_flop=record.training_flop,
                rows=seen,
                loss=least,
                inside=best in whole and min(whole) < best < max(whole),
            )
        )
    return choices
