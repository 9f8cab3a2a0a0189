"""What the records of a ladder show, model by model."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from trainer.scaling_law import fit
from trainer.scaling_law.fit import Interval, Law, Points
from trainer.scaling_law.frontier import Choice, frontier
from trainer.scaling_law.records import Record


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The law of a model and what surrounds it.

    Args:
        model: name of the model.
        known_floor: whether the attainable LogLoss of all records is known;
            losses below are then excesses over it, else LogLoss.
        of_flop: loss as a power law of training FLOP per example; None with
            too few rungs.
        of_parameters: the same of dense parameters.
        last_step: exponent of FLOP between the two largest rungs, and its
            interval.
        verdict: what the last step says on saturation.
        resolvable: smallest difference in LogLoss that the seeds resolve,
            in percent.
        per_fourfold: change of LogLoss in percent with each fourfold of
            training FLOP, and its interval.
        frontier: the best rung by budget.
    """

    model: str
    known_floor: bool
    of_flop: Law | None
    of_parameters: Law | None
    last_step: tuple[float, Interval | None] | None
    verdict: str
    resolvable: float | None
    per_fourfold: tuple[float, Interval] | None
    frontier: list[Choice]


def by_model(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Returns the records of each model, the cheapest rungs first."""
    models: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.training_flop, r.seed)):
        models.setdefault(record.model, []).append(record)
    return models


def by_rung(records: Sequence[Record]) -> list[list[Record]]:
    """Returns the records of each rung of a model, the cheapest first."""
    rungs: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.training_flop, r.seed)):
        rungs.setdefault(record.rung, []).append(record)
    return list(rungs.values())


def points(
    records: Sequence[Record],
    x: Callable[[Record], float],
    y: Callable[[Record], float | None],
) -> Points:
    """Returns x, and y of all seeds that have it, of each rung of a model."""
    listed = []
    for seeds in by_rung(records):
        values = [value for r in seeds if (value := y(r)) is not None]
        if values:
            listed.append((x(seeds[0]), values))
    return listed


def flop(record: Record) -> float:
    """Returns training FLOP per example."""
    return record.training_flop


def parameters(record: Record) -> float:
    """Returns dense parameters."""
    return record.dense_parameters


def loss_of(records: Sequence[Record]) -> Callable[[Record], float | None]:
    """Returns the loss that is analysed: excess, or LogLoss."""
    if all(record.excess is not None for record in records):
        return lambda record: record.excess
    return lambda record: record.logloss


def reference(records: Sequence[Record]) -> list[Record]:
    """Returns the records of the cheapest rung of all models."""
    first = min(records, key=lambda r: (r.training_flop, r.model))
    return [r for r in records if r.key[:2] == first.key[:2]]


def last_window_percent(records: Sequence[Record]) -> dict[str, Points]:
    """Returns the LogLoss on the last window by model and FLOP, relative.

    It is in percent of that of the cheapest rung of all models, less 100, so
    below 0 is better.
    """
    have = [r for r in records if r.last_window_logloss is not None]
    if not have:
        return {}

    def percent(record: Record) -> float:
        assert record.last_window_logloss is not None
        return 100 * (record.last_window_logloss / base - 1)

    first = [r.last_window_logloss or 0.0 for r in reference(have)]
    base = float(np.mean(first))
    return {
        model: points(mine, flop, percent)
        for model, mine in by_model(have).items()
    }


def analyse(records: Sequence[Record], resamples: int) -> list[Analysis]:
    """Returns the analysis of each model, by name.

    Args:
        records: runs of the models of one ladder.
        resamples: number of resamples of the bootstrap.
    """
    loss = loss_of(records)
    known = all(record.excess is not None for record in records)
    base = float(np.mean([r.logloss for r in reference(records)]))
    return [
        _analysis(model, mine, loss, known, base, resamples)
        for model, mine in sorted(by_model(records).items())
    ]


def _analysis(model, records, loss, known, base, resamples) -> Analysis:
    of_flop = points(records, flop, loss)
    logloss = points(records, flop, lambda r: r.logloss)
    law = fit.law(of_flop, known, resamples)
    step = fit.last_step(_above_floor(of_flop, law, known))
    resolved = fit.resolvable(logloss)
    return Analysis(
        model=model,
        known_floor=known,
        of_flop=law,
        of_parameters=fit.law(
            points(records, parameters, loss), known, resamples
        ),
        last_step=step,
        verdict=_verdict(step, law),
        resolvable=None if resolved is None else 100 * resolved / base,
        per_fourfold=fit.per_fourfold(logloss, base, resamples),
        frontier=frontier(records),
    )


def _above_floor(of_flop: Points, law: Law | None, known: bool) -> Points:
    """Returns excesses; if the floor was fitted, over the fitted one."""
    if known:
        return of_flop
    if law is None or not np.isfinite(law.floor):
        return []
    return [(x, [y - law.floor for y in ys]) for x, ys in of_flop]


def _verdict(step, law) -> str:
    """Returns what the step between the two largest rungs says."""
    if step is None or law is None:
        return "too few rungs to tell"
    exponent, bounds = step
    if bounds is None:
        return "one seed cannot tell"
    low, high = bounds
    if low <= 0 <= high:
        return "saturation is not excluded: the last step may be no gain"
    if high <= 0:
        return "saturated: the largest rung is worse than the one before"
    if high < law.exponent:
        return "not saturated, but the last step gains less than the law"
    return "not saturated: the last step gains as the law says"
