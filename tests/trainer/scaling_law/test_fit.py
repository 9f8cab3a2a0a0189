"""Power laws are recovered, and intervals cover what made the values."""

import numpy as np
import pytest

from trainer.scaling_law import fit

X = np.array([0.3, 1, 3, 10, 30]) * 1e6


def noisy(random, noise, floor=0.0, rungs=0.0):
    """Three seeds of five rungs of 2 x^-0.2, off the line by `rungs`."""
    return [
        (
            x,
            floor
            + 2
            * x**-0.2
            * np.exp(rungs * random.normal())
            * np.exp(noise * random.normal(size=3)),
        )
        for x in X
    ]


def test_a_power_law_is_recovered_exactly():
    law = fit.law([(x, [2 * x**-0.2]) for x in X], True, 200)
    assert law.exponent == pytest.approx(0.2, rel=1e-9)
    assert law.scale == pytest.approx(2, rel=1e-9)
    assert law.r_squared == pytest.approx(1) and law.floor == 0
    for name, value in (("exponent", 0.2), ("scale", 2)):
        assert law.intervals[name] == pytest.approx((value, value), rel=1e-6)
    assert law(1e9) == pytest.approx(2 * 1e9**-0.2)


def test_a_floor_is_recovered():
    law = fit.law([(x, [0.4 + 2 * x**-0.3]) for x in X], False, 200)
    assert law.floor == pytest.approx(0.4, abs=2e-4)
    assert law.exponent == pytest.approx(0.3, rel=0.02)  # of the grid
    assert law.r_squared > 0.99999


def test_an_exponent_below_its_grid_is_at_its_end():
    straight = [(x, [0.4 - 5e-4 * np.log(x)]) for x in X]
    assert fit.law(straight, False, 10).exponent == fit.EXPONENTS[0]


def test_intervals_cover_the_exponent():
    """Nearly as often as they say, if rungs scatter too; five are few."""
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(60):
        law = fit.law(noisy(random, 0.02, rungs=0.05), True, 300)
        low, high = law.intervals["exponent"]
        covered += low <= 0.2 <= high
    assert 45 <= covered


def test_too_few_rungs_have_no_law():
    two = [(1e6, [0.1, 0.2]), (3e6, [0.1])]
    assert fit.law(two, True, 100) is None
    three = [(x, [0.4 + 2 * x**-0.3]) for x in X[:3]]
    assert fit.law(three, False, 100) is None


def test_a_rung_at_the_floor_is_left_out():
    points = [(x, [2 * x**-0.2]) for x in X] + [(1e9, [-1e-4])]
    law = fit.law(points, True, 200)
    assert law.rungs == 5
    assert law.exponent == pytest.approx(0.2)


def test_the_last_step_tells_a_plateau_from_a_line():
    random = np.random.default_rng(0)
    line = noisy(random, 0.01)
    exponent, (low, high) = fit.last_step(line, 0.0, 200)
    assert exponent == pytest.approx(0.2, abs=0.02) and 0 < low < high
    flat = [*line[:-1], (X[-1], line[-2][1])]
    exponent, (low, high) = fit.last_step(flat, 0.0, 200)
    assert exponent == pytest.approx(0) and low < 0 < high < 0.2
    assert fit.last_step([(x, ys[:1]) for x, ys in line], 0.0, 9)[1] is None
    reached = [*line[:-1], (X[-1], [-0.1, -0.2])]
    assert fit.last_step(reached, 0.0, 9) is None  # below the floor
    assert fit.last_step([line[0], line[0]], 0.0, 9) is None  # equal FLOP
    assert fit.last_step(line[:3], None, 9) is None  # too few for a floor


@pytest.mark.parametrize("floor", [0.0, None])
@pytest.mark.parametrize("falling", [False, True])
def test_intervals_of_the_last_step_cover_a_plateau(floor, falling):
    """Also where deviations of logarithms grow, as excesses are small."""
    random = np.random.default_rng(1)
    means = 0.06 * (np.array(X) / X[0]) ** -0.45
    means[-1] = means[-2]
    deviations = np.full(len(X), 8e-4)
    if falling:
        deviations *= np.array(X / X[-1]) ** -0.3
    found = []
    for _ in range(100):
        noise = random.normal(0, deviations, (3, len(X))).T
        losses = means[:, None] + noise + (0.25 if floor is None else 0)
        step = fit.last_step([*zip(X, losses, strict=True)], floor, 200)
        assert step is not None and step[1] is not None
        found.append(step[1][0] <= 0 <= step[1][1])
    assert sum(found) >= 90


def test_equal_losses_explain_nothing_and_gain_nothing():
    points = [(x, [0.3, 0.3]) for x in (1.0, 3.0, 10.0, 30.0)]
    law = fit.law(points, True, 100)
    assert law.r_squared == 0 and law.exponent == pytest.approx(0, abs=1e-12)
    assert fit.last_step(points, None, 100)[0] == 0


def test_no_law_fits_losses_that_rise():
    points = [(x, [0.2 + 0.01 * at]) for at, x in enumerate(X)]
    assert fit.law(points, False, 9) is None


def test_what_seeds_resolve_is_a_half_width_by_students_t():
    # A deviation of sqrt(2), two degrees of freedom, two seeds each; the
    # smallest rung does not count.
    points = [(2.0, [5.0, 7.0]), (1.0, [0.0, 2.0]), (0.1, [0.0, 9.0])]
    assert fit.resolvable(points) == pytest.approx(4.303 * 2**0.5)
    assert fit.resolvable([(1.0, [1.0]), (2.0, [1.0])]) is None
    assert fit.resolvable([(1.0, [1.0, 2.0])]) is None
    value, half = fit.difference([5.0, 7.0], [0.0, 2.0])
    assert (value, half) == pytest.approx((5, 4.303 * 2**0.5))
    assert fit.difference([1.0], [2.0]) == (-1, None)


def test_quantiles_are_those_of_students_t():
    for freedom, value in ((1, 12.706), (12, 2.179), (20, 2.086), (60, 2.0)):
        assert fit.t_quantile(freedom) == pytest.approx(value, rel=1e-3)


def test_the_change_for_four_times_the_compute():
    points = [(x, [0.3 - 0.0003 * np.log(x) / np.log(4)] * 2) for x in X]
    value, (low, high) = fit.per_fourfold(points, 0.3, 200)
    assert (value, low, high) == pytest.approx((-0.1,) * 3)
