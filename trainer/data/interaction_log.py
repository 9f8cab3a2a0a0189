"""A synthetic click log of inner products between vectors of ids.

Each id of each column has a latent vector z. The logit of a row is a sum of
terms, each a generalized inner product of the vectors of k columns:

    logit = bias + sum over t of (product_t - its mean)
    product_t = c_t * sum over r in R_t, product over f in F_t of
                (m_k + s_k * z[f, r])

with random columns F_t, random entries R_t, m_k^2 + s_k^2 = 1 and c_t such
that the t-th term has the standard deviation STDDEV * t^-decay / norm. For
k = 2, m_k is 0, and a term is the inner product of a factorization machine.
Products of more factors of mean zero would be uncorrelated with every
function of fewer columns, and no model would find them; with a mean m_k, a
part of the term depends on fewer columns, and leads to the rest.

Latent vectors have mean 0 and the identity as covariance under the law of the
ids, and columns are independent, so the variance of a term is known:

    Var(product_t) = c_t^2 * |R_t| * (1 - m_k^2k)
"""

import dataclasses
import functools

import numpy as np

from trainer.data.block_log import BLOCK_ROWS, SPLITS, BlockLog, add_label
from trainer.data.source import generator
from trainer.settings import Interactions
from wukong_tf import config
from wukong_tf.config import schema
from wukong_tf.rows import Batch

BASE_RATE = 0.1
# Root of the summed variances of all terms.
STDDEV = 1.5
# A term of order k has s_k^2 = SPREAD / k, at most 1: the expected number of
# columns in a summand of its expanded product is SPREAD.
SPREAD = 2.5
# An id is floor(n u^SKEW) of a uniform u, so its probability falls as
# (id + 1)^(1 / SKEW - 1), and the rarest of n has about 1 / (n SKEW).
SKEW = 2.0
# Blocks of rows from which the bias is computed.
BIAS_BLOCKS = 8


@dataclasses.dataclass(frozen=True)
class Term:
    """An inner product of the vectors of several columns.

    Args:
        strength: its standard deviation, in logits.
        mean: its product's mean, which is subtracted.
        factors: values [num_ids, term_dim] of each column's ids, by name.
    """

    strength: float
    mean: float
    factors: dict[str, np.ndarray]

    def __call__(self, batch: Batch) -> np.ndarray:
        """Returns the term of each row, float64 [B]."""
        product: np.ndarray = np.ones(1)
        for name, values in self.factors.items():
            product = product * values.take(batch[name], 0)  # [B, term_dim]
        return sum(product.T) - self.mean  # faster than product.sum(1)


@dataclasses.dataclass(frozen=True)
class InteractionLog(BlockLog):
    """Rows of a click log of interactions, addressed by split and number.

    Args:
        seed: seed of the latent vectors, terms and rows. Defaults to 0.
        sizes: numbers of columns, ids and terms. Defaults to those of the
            flags.
    """

    seed: int = 0
    sizes: Interactions = Interactions()
    tasks = ("click",)

    def __post_init__(self):
        schema.check_int("synthetic log", "seed", self.seed, 0)

    @property
    def spec(self) -> config.FeatureSpec:
        """Feature spec of the log's columns."""
        return config.FeatureSpec(
            categorical=tuple(
                config.CategoricalFeature(name, self.sizes.synthetic_ids)
                for name in self._names
            ),
            tasks=(config.Task("click", "label"),),
            group=self._names[0],
        )

    def block(self, split: str, index: int) -> Batch:
        """Returns one block of rows; see `BlockLog.block`."""
        random = generator(self.seed, SPLITS.index(split), index)
        batch = self._ids(random)
        add_label(batch, "click", self.logits(batch), random)
        return batch

    def logits(self, batch: Batch) -> np.ndarray:
        """Returns true logits, float64 [B], of rows of `rows` or any others."""
        return self._bias + self._sum(batch)

    @functools.cached_property
    def terms(self) -> tuple[Term, ...]:
        """The terms of the logit, the strongest first."""
        sizes = self.sizes
        ranks = np.arange(1, sizes.synthetic_terms + 1)
        strengths = ranks**-sizes.synthetic_decay
        strengths *= STDDEV / np.sqrt(np.square(strengths).sum())
        return tuple(map(self._term, range(len(ranks)), strengths))

    def _term(self, number, strength):
        sizes = self.sizes
        random = generator(self.seed, len(SPLITS) + 1, number)
        order = 2 + number % (sizes.synthetic_max_order - 1)
        columns = random.choice(sizes.synthetic_fields, order, replace=False)
        entries = random.choice(
            sizes.synthetic_latent_dim, sizes.synthetic_term_dim, replace=False
        )
        spread = min(1.0, SPREAD / order)
        mean = (1 - spread) ** 0.5
        variance = len(entries) * (1 - mean ** (2 * order))
        scale = random.choice([-1, 1]) * strength / variance**0.5
        factors = {
            self._names[column]: np.ascontiguousarray(
                mean + spread**0.5 * self._latents[column][:, entries]
            )
            for column in sorted(columns)
        }
        factors[self._names[min(columns)]] *= scale
        return Term(
            float(strength), scale * len(entries) * mean**order, factors
        )

    @functools.cached_property
    def _names(self):
        count = self.sizes.synthetic_fields
        digits = len(str(count))
        return [f"field_{n:0{digits}}" for n in range(1, count + 1)]

    def _ids(self, random) -> Batch:
        """Draws a block of ids, int32 [BLOCK_ROWS] for each column."""
        num_ids = self.sizes.synthetic_ids
        draws = random.random((len(self._names), BLOCK_ROWS)) ** SKEW
        ids = (num_ids * draws).astype(np.int32)
        return dict(zip(self._names, ids, strict=True))

    def _sum(self, batch) -> np.ndarray:
        """Returns the sum of all terms, float64 [B]."""
        total = np.zeros(len(batch[self._names[0]]))
        for term in self.terms:
            total += term(batch)
        return total

    @functools.cached_property
    def _latents(self) -> list[np.ndarray]:
        """Latent vectors [num_ids, latent_dim] of each column's ids."""
        law = id_law(self.sizes.synthetic_ids)
        size = (len(law), self.sizes.synthetic_latent_dim)
        latents = []
        for column in range(self.sizes.synthetic_fields):
            random = generator(self.seed, len(SPLITS), column)
            # Bounded, so that products of several have lighter tails.
            vectors = random.uniform(-1, 1, size)
            vectors -= law @ vectors
            covariance = (vectors.T * law) @ vectors
            root = np.linalg.cholesky(covariance)
            latents.append(np.linalg.solve(root, vectors.T).T)
        return latents

    @functools.cached_property
    def _bias(self) -> float:
        """The bias, in hundredths, that gives the base rate."""
        random = generator(self.seed, len(SPLITS) + 2)
        sums = [self._sum(self._ids(random)) for _ in range(BIAS_BLOCKS)]
        odds = np.exp(-np.concatenate(sums))
        low, high = -50.0, 50.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            rate = np.mean(1 / (1 + np.exp(-middle) * odds))
            low, high = (middle, high) if rate < BASE_RATE else (low, middle)
        return round(low, 2)


def id_law(num_ids: int) -> np.ndarray:
    """Returns the probability of each id of a column, float64 [num_ids]."""
    return np.diff((np.arange(num_ids + 1) / num_ids) ** (1 / SKEW))
