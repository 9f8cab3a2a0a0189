"""The compute-optimal frontier: the best rung for a budget of FLOP."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from trainer.scaling_law.records import Record


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
    evaluations that all seeds have are taken.
    """
    listed = []
    for key in sorted({(r.training_flop, r.rung) for r in records}):
        seeds = [r for r in records if (r.training_flop, r.rung) == key]
        curve = [dict(r.curve) for r in seeds]
        rows = sorted(set.intersection(*(set(c) for c in curve)))
        floor = seeds[0].curve_attainable or 0.0
        mean = [np.mean([c[n] for c in curve]) - floor for n in rows]
        listed.append((seeds[0], np.array(rows, float), np.array(mean)))
    return listed


def frontier(records: Sequence[Record]) -> list[Choice]:
    """Returns the best rung of a model for budgets a factor of two apart.

    Between its evaluations, a rung's loss is interpolated on log axes.
    """
    drawn = [
        (record, rows[loss > 0], loss[loss > 0])
        for record, rows, loss in curves(records)
        if (loss > 0).any()
    ]
    if len(drawn) < 2:
        return []
    low = min(r.training_flop * rows[0] for r, rows, _ in drawn)
    high = max(r.training_flop * rows[-1] for r, rows, _ in drawn)
    choices = []
    for step in range(int(np.floor(np.log2(high / low))) + 1):
        budget = low * 2.0**step
        reached: list[tuple[float, int, float]] = []
        whole: list[int] = []
        for at, (record, rows, loss) in enumerate(drawn):
            wanted = budget / record.training_flop
            # A rounding error must not lose an end.
            if rows[0] * 0.999 <= wanted:
                # Beyond the last rows it gives the last value.
                value = np.interp(np.log(wanted), np.log(rows), np.log(loss))
                taken = min(wanted, float(rows[-1]))
                reached.append((float(np.exp(value)), at, taken))
                if wanted <= rows[-1] * 1.001:
                    whole.append(at)
        if len(reached) < 2:
            continue
        least, at, taken = min(reached)
        record = drawn[at][0]
        choices.append(
            Choice(
                budget,
                record.rung,
                record.training_flop,
                taken,
                least,
                at in whole and min(whole) < at < max(whole),
            )
        )
    return choices
