"""What the records of a ladder show, model by model."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from trainer.scaling_law import fit
from trainer.scaling_law.fit import Interval, Law, Points
from trainer.scaling_law.frontier import Choice, frontier
from trainer.scaling_law.records import Record, by_model, by_rung

BASE = "base"


@dataclasses.dataclass(frozen=True)
class Difference:
    """The LogLoss of a rung, compared with that of the rung "base".

    Args:
        rung: name of the rung.
        training_flop: its FLOP per example, as a multiple of the base's.
        percent: difference of mean LogLoss, in percent of the base's.
        half: half of its 95 % interval, or None with one seed each.
    """

    rung: str
    training_flop: float
    percent: float
    half: float | None


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
        too_few: whether there are too few rungs for a law.
        last_step: exponent of FLOP between the two largest rungs, and its
            interval.
        verdict: what the last step says on saturation.
        resolvable: smallest difference in LogLoss that the seeds of the two
            largest rungs resolve, in percent.
        per_fourfold: change of LogLoss in percent with each fourfold of
            training FLOP, and its interval.
        frontier: the best rung by budget.
        differences: if a rung is named "base", how the others differ from it;
            there is no law of such rungs, and all of the above is empty.
    """

    model: str
    known_floor: bool
    of_flop: Law | None = None
    of_parameters: Law | None = None
    too_few: bool = True
    last_step: tuple[float, Interval | None] | None = None
    verdict: str = ""
    resolvable: float | None = None
    per_fourfold: tuple[float, Interval | None] | None = None
    frontier: Sequence[Choice] = ()
    differences: tuple[Difference, ...] = ()


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
    known = _known_floor(records)
    return lambda record: record.excess if known else record.logloss


def _known_floor(records) -> bool:
    return all(record.excess is not None for record in records)


def _reference(records, value) -> float:
    """Returns the mean value of the cheapest rung of all models that has it."""
    have = [r for r in records if value(r) is not None]
    first = min(have, key=lambda r: (r.training_flop, r.model), default=None)
    seeds = [r for r in have if first and r.key[:2] == first.key[:2]]
    return float(np.mean([value(r) for r in seeds])) if seeds else math.nan


def last_window(
    records: Sequence[Record],
) -> Callable[[Record], float | None]:
    """Returns the relative LogLoss on the last window, as a function of a run.

    It is in percent of that of the cheapest rung of all models, less 100, so
    below 0 is better; None if the run has none.
    """
    base = _reference(records, lambda r: r.last_window_logloss)

    def percent(record: Record) -> float | None:
        value = record.last_window_logloss
        return None if value is None else 100 * (value / base - 1)

    return percent


def analyse(records: Sequence[Record], resamples: int) -> list[Analysis]:
    """Returns the analysis of each model, by name.

    Args:
        records: runs of the models of one ladder.
        resamples: number of resamples of the bootstrap.
    """
    loss, known = loss_of(records), _known_floor(records)
    base = _reference(records, lambda r: r.logloss)
    return [
        _analysis(model, mine, loss, known, base, resamples)
        for model, mine in by_model(records).items()
    ]


def differences(records: Sequence[Record]) -> tuple[Difference, ...]:
    """Returns how a model's rungs differ from "base", () if there is none."""
    base = [record for record in records if record.rung == BASE]
    if not base:
        return ()
    losses = [record.logloss for record in base]
    percent = 100 / np.mean(losses)
    found = []
    for seeds in by_rung(records):
        if seeds[0].rung == BASE:
            continue
        value, half = fit.difference([r.logloss for r in seeds], losses)
        found.append(
            Difference(
                rung=seeds[0].rung,
                training_flop=seeds[0].training_flop / base[0].training_flop,
                percent=float(value * percent),
                half=None if half is None else float(half * percent),
            )
        )
    return tuple(found)


def _analysis(model, records, loss, known, base, resamples) -> Analysis:
    if compared := differences(records):
        return Analysis(model, known, differences=compared)
    of_flop = points(records, flop, loss)
    logloss = points(records, flop, lambda r: r.logloss)
    law = fit.law(of_flop, known, resamples)
    too_few = fit.too_few(of_flop, known)
    step = fit.last_step(of_flop, 0.0 if known else None, resamples)
    resolved = fit.resolvable(logloss)
    return Analysis(
        model=model,
        known_floor=known,
        of_flop=law,
        of_parameters=fit.law(
            points(records, parameters, loss), known, resamples
        ),
        too_few=too_few,
        last_step=step,
        verdict=_verdict(step, law, too_few),
        resolvable=None if resolved is None else 100 * resolved / base,
        per_fourfold=fit.per_fourfold(logloss, base, resamples),
        frontier=frontier(records),
    )


def _verdict(step, law, too_few) -> str:
    """Returns what the step between the two largest rungs says."""
    if too_few:
        return "too few rungs to tell"
    if law is None:
        return "no law fits: losses do not fall as a power of FLOP"
    if step is None:
        return "the two largest rungs have equal FLOP or reach the floor"
    exponent, bounds = step
    if bounds is None:
        return "one seed cannot tell"
    low, high = bounds
    if low <= 0 <= high:
        return "saturation is not excluded"
    if high <= 0:
        return "saturated: the largest rung is worse than the one before"
    if high < law.exponent:
        return "not saturated, but the last step gains less than the law"
    return "not saturated: the last step gains as the law says"
