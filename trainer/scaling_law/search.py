"""Which learning rates of a rung have been tried, and which comes next."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.scaling_law.records import Record, Rung

# LogLoss on valid rows by learning rate; None if it was not finite.
Losses = dict[float, float | None]


def losses_of(
    rung: Rung,
    searches: Sequence[Mapping[str, Any]],
    runs: Sequence[Record] = (),
) -> Losses:
    """Returns the LogLoss of each rate that was tried for a rung.

    Args:
        rung: the rung.
        searches: results of the searches' runs, of any rung.
        runs: runs that count as tries too: those of the first seed, if a
            search is on all rows.
    """
    losses: Losses = {
        search["learning_rate"]: search["valid_logloss"]
        for search in searches
        if same(search, rung) and not is_final(search, rung)
    }
    for run in runs:
        if (run.model, run.rung) == (rung.model, rung.rung):
            loss = run.curve[-1][1] if run.curve else None
            losses.setdefault(run.learning_rate, loss)
    return losses


def leaves_open(
    rates: Sequence[float],
    rate: float,
    searches: Sequence[Mapping[str, Any]],
    rung: Rung,
) -> bool:
    """Returns whether a better rate may lie next to the one of a rung.

    It may if a rate next to it in the list was not tried, or it is an end of
    the list. A list of one rate is not a search.
    """
    if len(rates) == 1 or rate not in rates:
        return False
    place = rates.index(rate)
    if place in (0, len(rates) - 1):
        return True
    losses = losses_of(rung, searches)
    return not {rates[place - 1], rates[place + 1]} <= losses.keys()


def following(rates: Sequence[float], losses: Losses) -> float | None:
    """Returns the learning rate to try next, or None if the best is known.

    From the middle of the list, rates next to the best one are tried until
    both are worse.
    """
    best = best_of(losses)
    if best is None:
        rest = [rate for rate in rates if rate not in losses]
        return rest[(len(rest) - 1) // 2] if rest else None
    place = rates.index(best)
    beside = rates[max(0, place - 1) : place + 2]
    return next((rate for rate in beside if rate not in losses), None)


def best_of(losses: Losses) -> float | None:
    """Returns the rate of the least LogLoss, or None if none is finite."""
    finite = {rate: v for rate, v in losses.items() if v is not None}
    return min(finite, key=lambda rate: finite[rate]) if finite else None


def most_left(rates: Sequence[float], losses: Losses) -> int:
    """Returns how many rates a search may still try."""
    if len(rates) == 1 or following(rates, losses) is None:
        return 0
    return len(rates) - len(losses)


def result(
    rung: Rung,
    rate: float,
    seed: int,
    rows: int,
    loss: float,
    error: str | None,
) -> dict[str, Any]:
    """Returns the recorded result of a rate; its LogLoss may be NaN."""
    return {
        "model": rung.model,
        "rung": rung.rung,
        "sizes": rung.sizes,
        "learning_rate": rate,
        "rows": rows,
        "seed": seed,
        "valid_logloss": loss if math.isfinite(loss) else None,
        "error": error,
    }


def is_final(search: Mapping[str, Any], rung: Rung) -> bool:
    """Returns whether a result is of a rung's final run, which diverged."""
    return bool(search.get("final")) and same(search, rung)


def same(search: Mapping[str, Any], rung: Rung) -> bool:
    """Returns whether a result is of a rung."""
    return (search["model"], search["rung"]) == (rung.model, rung.rung)
