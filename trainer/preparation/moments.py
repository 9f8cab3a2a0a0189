"""Mean and standard deviation of numbers, independent of sharding.

Sums of floats depend on their order, and differences of large ones lose
precision. Sums here are exact integers: a float32 is a whole multiple of
2^-172, and its square of 2^-344.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np

_BITS = 24  # bits of a float32's significand
_UNIT = 172  # float32 has no smaller exponent than -148, less these bits


@dataclasses.dataclass(frozen=True)
class Moments:
    """Moments of a numeric column; those of two parts can be added.

    Args:
        count: number of rows with a value. Defaults to 0.
        total: sum of the values, in units of 2^-172. Defaults to 0.
        squares: sum of their squares, in units of 2^-344. Defaults to 0.
        low: minimum, before rounding to float32. Defaults to infinity.
        high: maximum, likewise. Defaults to minus infinity.
        missing: number of rows without a value. Defaults to 0.
    """

    count: int = 0
    total: int = 0
    squares: int = 0
    low: float = math.inf
    high: float = -math.inf
    missing: int = 0

    @classmethod
    def from_numbers(cls, numbers: np.ndarray) -> "Moments":
        """Returns the moments of float64 numbers [N]; a NaN is missing.

        They are rounded to float32 first, as the trainer reads them.
        """
        present = numbers[~np.isnan(numbers)]
        missing = len(numbers) - len(present)
        if not len(present):
            return cls(missing=missing)
        fractions, exponents = np.frexp(present.astype(np.float32))
        # Whole numbers below 2^53, which float64 holds exactly.
        whole = fractions.astype(np.float64) * 2**_BITS
        shifts = exponents.astype(np.intp) + (_UNIT - _BITS)
        squares = whole * whole
        high_bits = np.floor(squares * 2.0**-_BITS)
        low_bits = squares - high_bits * 2**_BITS
        return cls(
            len(present),
            _shifted_sum(whole, shifts, 1),
            _shifted_sum(low_bits, shifts, 2)
            + (_shifted_sum(high_bits, shifts, 2) << _BITS),
            float(present.min()),
            float(present.max()),
            missing,
        )

    def __add__(self, other: "Moments") -> "Moments":
        """Returns the moments of both parts together."""
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            min(self.low, other.low),
            max(self.high, other.high),
            self.missing + other.missing,
        )

    @property
    def mean(self) -> float:
        """The mean; 0 if there are no numbers."""
        return float(Fraction(self.total, max(1, self.count) << _UNIT))

    @property
    def stddev(self) -> float:
        """The standard deviation; 0 only if all are equal in float32."""
        if not self.count:
            return 0.0
        spread = self.count * self.squares - self.total**2
        return math.sqrt(Fraction(spread, self.count**2 << 2 * _UNIT))


def _shifted_sum(whole, shifts, times):
    """Returns the sum of whole * 2^(times * shifts).

    It is exact for up to 2^29 values of at most 24 bits.
    """
    sums = np.bincount(shifts, weights=whole)
    return sum(
        int(part) << times * shift for shift, part in enumerate(sums) if part
    )
