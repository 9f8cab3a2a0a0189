"""Power laws of losses, fitted with intervals by the bootstrap.

With a known floor, the excess follows a line on log axes, fitted by least
squares:

    log excess = log a - b log x

Else the floor c is fitted too. For each b of a grid, c and a of

    loss = c + a x^-b

are the solution of a linear least-squares problem; the b with the smallest sum
of squares is taken, with a > 0 and c >= 0.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LEVEL = 0.95
EXPONENTS = np.geomspace(0.005, 3.0, 400)
MOST = float(EXPONENTS[-1])
SEED = 0  # of the bootstrap
# Quantiles 0.975 of Student's t for 1 to 10 degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

FEWEST = 4  # rungs for intervals; with three they would be far too narrow

Interval = tuple[float, float]
Points = Sequence[tuple[float, Sequence[float]]]  # x, and a value for each seed


@dataclasses.dataclass(frozen=True)
class Law:
    """A fitted power law, floor + scale * x^-exponent.

    Args:
        floor: 0 if the values are excesses.
        scale: a.
        exponent: b.
        r_squared: fraction of the variance between rungs that is explained, on
            log axes if the floor is known.
        intervals: 95 % intervals of "floor", "scale" and "exponent"; {} with
            fewer than four rungs.
        rungs: number of rungs.
    """

    floor: float
    scale: float
    exponent: float
    r_squared: float
    intervals: dict[str, Interval]
    rungs: int

    def __call__(self, x):
        """Returns the law's value at x."""
        return self.floor + self.scale * np.asarray(x, float) ** -self.exponent


def too_few(points: Points, known: bool) -> bool:
    """Returns whether there are too few rungs of different x for a law."""
    return len({x for x, _ in points}) < (3 if known else FEWEST)


def law(points: Points, known: bool, resamples: int) -> Law | None:
    """Fits a power law to the means of the rungs.

    Intervals are those of the bootstrap: rungs are drawn with replacement, and
    for each drawn rung its seeds. With a fitted floor, a resample that nothing
    fits, as its losses rise, counts as the least exponent of the grid.

    Args:
        points: x and the values of all seeds, for each rung.
        known: whether values are excesses above a known floor. Rungs without
            a positive mean are left out.
        resamples: number of resamples.

    Returns:
        The law, or None if there are fewer than three rungs of different x,
        or than four if the floor is unknown, or if none fits, as of losses
        that rise.
    """
    if known:
        points = [(x, ys) for x, ys in points if np.mean(ys) > 0]
    if too_few(points, known):
        return None
    fit = _without_floor if known else _with_floor
    x, y = _means(points)
    values = fit(x, y)
    if not np.isfinite(values).all():
        return None
    intervals = {}
    if len({x for x, _ in points}) >= FEWEST:
        fewest = 2 if known else 3
        drawn = bootstrap(points, fit, resamples, fewest, positive=known)
        drawn[np.isnan(drawn[:, 2]), 2] = EXPONENTS[0]
        for at, name in enumerate(("floor", "scale", "exponent")):
            intervals[name] = interval(drawn[:, at])
    fitted = values[0] + values[1] * x ** -values[2]
    if known:
        y, fitted = np.log(y), np.log(fitted)
    spread = np.square(y - y.mean()).sum()
    return Law(
        *values,
        # Of means that are equal but for rounding, nothing is to explain.
        float(1 - np.square(y - fitted).sum() / spread)
        if spread > 1e-20 * np.square(y).sum()
        else 0.0,
        intervals,
        len(points),
    )


def bootstrap(
    points: Points,
    statistic: Callable[[np.ndarray, np.ndarray], Sequence[float]],
    resamples: int,
    fewest: int = 2,
    positive: bool = False,
) -> np.ndarray:
    """Returns a statistic of resampled rungs and seeds, [resamples, values].

    Args:
        points: x and the values of all seeds, for each rung.
        statistic: values from x and mean y of the drawn rungs.
        resamples: number of resamples.
        fewest: different x that a resample must have. Defaults to 2.
        positive: whether all its means must be above 0. Defaults to False.
    """
    random = np.random.default_rng(SEED)
    drawn: list[Sequence[float]] = []
    while len(drawn) < resamples:
        chosen = random.integers(len(points), size=len(points))
        picked = [
            (points[at][0], random.choice(points[at][1], len(points[at][1])))
            for at in chosen
        ]
        if len({x for x, _ in picked}) < fewest:
            continue
        x, y = _means(picked)
        if positive and not (y > 0).all():
            continue
        drawn.append(statistic(x, y))
    return np.array(drawn)


def interval(values: np.ndarray) -> Interval:
    """Returns the central 95 % of the finite values."""
    values = values[np.isfinite(values)]
    if not len(values):
        return (float("nan"), float("nan"))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)


def _means(points) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([x for x, _ in points], float),
        np.array([np.mean(ys) for _, ys in points]),
    )


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Returns intercept and slope of a line by least squares."""
    slope, intercept = np.polyfit(x, y, 1)
    return float(intercept), float(slope)


def _without_floor(x, y) -> tuple[float, float, float]:
    intercept, slope = line(np.log(x), np.log(y))
    return 0.0, float(np.exp(intercept)), -slope


def _with_floor(x, y) -> tuple[float, float, float]:
    unit = np.exp(np.log(x).mean())
    powers = (x[:, None] / unit) ** -EXPONENTS  # [rungs, exponents]
    centred = powers - powers.mean(0)
    y_centred = y - y.mean()
    scales = centred.T @ y_centred / np.square(centred).sum(0)
    floors = y.mean() - scales * powers.mean(0)
    errors = np.square(y_centred[:, None] - scales * centred).sum(0)
    errors[(scales <= 0) | (floors < 0)] = np.inf
    best = int(np.argmin(errors))
    if not np.isfinite(errors[best]):
        nan = float("nan")
        return nan, nan, nan
    exponent = float(EXPONENTS[best])
    return float(floors[best]), float(scales[best] * unit**exponent), exponent


def t_quantile(freedom: int) -> float:
    """Returns the 0.975 quantile of Student's t, to 0.1 % from 1 on."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    return 1.96 + 2.37 / freedom + 2.8 / freedom**2


def pooled(points: Sequence[tuple[float, Any]]) -> tuple[float, int]:
    """Returns the standard deviation over seeds, and its degrees of freedom."""
    freedom = sum(len(ys) - 1 for _, ys in points)
    squares = sum(
        np.square(np.array(ys) - np.mean(ys)).sum() for _, ys in points
    )
    return (float(np.sqrt(squares / freedom)) if freedom else 0.0), freedom


def resolvable(points: Points) -> float | None:
    """Returns the smallest difference that seeds resolve on the largest rungs.

    It is half the width of the 95 % interval of the difference of the last two
    rungs' means, by Student's t with a standard deviation common to the two;
    None with one rung or one seed.
    """
    ordered = sorted(points, key=lambda point: point[0])
    if len(ordered) < 2:
        return None
    (_, before), (_, last) = ordered[-2:]
    return difference(last, before)[1]


def difference(
    values: Sequence[float], base: Sequence[float]
) -> tuple[float, float | None]:
    """Returns the difference of two means, and half its 95 % interval.

    The interval is that of Student's t with a standard deviation common to
    both; None with one value each.
    """
    points = [(0.0, values), (0.0, base)]
    deviation, freedom = pooled(points)
    value = float(np.mean(values) - np.mean(base))
    if not freedom:
        return value, None
    error = deviation * (1 / len(values) + 1 / len(base)) ** 0.5
    return value, t_quantile(freedom) * error


def last_step(
    points: Points, floor: float | None, resamples: int
) -> tuple[float, Interval | None] | None:
    """Returns the exponent between the last two rungs, and its 95 % interval.

    Means of rungs are taken to scatter as Student's t, with a standard
    deviation of the values common to the two, as that of smaller rungs may be
    larger. With a known floor the error is carried to the logarithms of the
    means; else means are drawn, of all rungs with this deviation, and the
    floor is fitted to each draw. If a mean then lies below the floor, or
    nothing fits, the exponent is the largest of the grid, negative for a step
    that is no gain.

    Args:
        points: x, and values of all seeds, for each rung.
        floor: 0 if the values are excesses above a known floor, else None, to
            be fitted.
        resamples: number of draws.

    Returns:
        The exponent, and its interval, None with one seed; or None with too
        few rungs, if the two have the same x, or a mean that is not above a
        known floor.
    """
    points = sorted(points, key=lambda point: point[0])
    x, y = _means(points)
    fewest = 2 if floor is not None else FEWEST
    if len(points) < fewest or x[-1] <= x[-2]:
        return None
    ratio = np.log(x[-1] / x[-2])

    def exponent(means) -> float:
        base = floor if floor is not None else _with_floor(x, means)[0]
        before, after = means[-2:] - base
        if before > 0 and after > 0:  # not so of NaN, if nothing fits
            value = float(np.log(before / after) / ratio)
        elif floor is not None:
            return np.nan
        else:
            gain = np.sign(means[-2] - means[-1])
            value = gain * np.inf if gain else 0.0
        return value if floor is not None else np.clip(value, -MOST, MOST)

    value = exponent(y)
    if not np.isfinite(value):
        return None
    deviation, freedom = pooled(points[-2:])
    if not freedom:
        return value, None
    errors = deviation / np.sqrt([len(ys) for _, ys in points])
    if floor is not None:
        relative = (errors / (y - floor))[-2:]
        half = t_quantile(freedom) * np.sqrt(np.square(relative).sum()) / ratio
        return value, (value - half, value + half)
    random = np.random.default_rng(SEED)
    noise = random.standard_t(freedom, (resamples, len(y)))
    return value, interval(
        np.array([exponent(y + errors * row) for row in noise])
    )


def per_fourfold(
    points: Points, reference: float, resamples: int
) -> tuple[float, Interval | None] | None:
    """Returns the change of LogLoss, in percent, with each fourfold of x.

    Args:
        points: x and LogLoss of all seeds, for each rung.
        reference: the LogLoss that is 100 %.
        resamples: number of resamples of the bootstrap.

    Returns:
        The slope by least squares, and its 95 % interval, None with fewer
        than four rungs; or None with fewer than two.
    """

    def statistic(x, y):
        return line(np.log(x) / np.log(4), 100 * y / reference)[1:]

    rungs = len({x for x, _ in points})
    if rungs < 2:
        return None
    (value,) = statistic(*_means(points))
    if rungs < FEWEST:
        return value, None
    return value, interval(bootstrap(points, statistic, resamples)[:, 0])
