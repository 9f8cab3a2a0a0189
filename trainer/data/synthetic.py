"""A synthetic click log whose true probabilities are known.

The logit of a row is a sum of products of latents, one per column, each a
function of the column's value:

    logit = bias + sum over TERMS of weight * product of latents

Products of one, two, three and four columns are planted. A column's latent
has mean 0 and variance 1 under the column's own distribution, and the
columns of a product are independent, so a product is uncorrelated with every
function of fewer of its columns: models of a lower order cannot explain it.
All products of a column share its latent: low orders help to learn high ones.

Conversions, if requested, follow from products of the same latents. Only a
clicked row has a conversion label, as in a log of purchases.
"""

import dataclasses
import functools

import numpy as np

from trainer.data.block_log import (
    BLOCK_ROWS,
    PROBABILITY,
    SPLITS,
    BlockLog,
    add_label,
)
from trainer.data.source import generator
from wukong_tf import config
from wukong_tf.config import schema
from wukong_tf.errors import ConfigError
from wukong_tf.rows import Batch

LABELS = {"click": "label", "conversion": "conversion"}

# Number of ids and exponent s of the Zipf law p(id) ~ (id + 1)^-s. The
# exponents leave little mass on ids that are too rare to learn.
IDS = {
    "user": (60_000, 1.15),
    "item": (40_000, 1.15),
    "query": (5_000, 1.05),
    "site": (1_000, 1.0),
    "category": (200, 0.9),
    "region": (50, 0.8),
    "hour": (24, 0.5),
    "device": (8, 0.7),
}

# Transform, and the mean and stddev of its result. `price` is exp(g) - 1 with
# g from a gamma distribution, so `price` has a power-law tail.
NUMBERS = {"price": ("log1p", 3.0, 1.5), "recency": ("none", 10.0, 3.0)}
PRICE_SHAPE = 4.0  # (mean / stddev)^2
# An item's mean content has variance 1 in every entry; rows add noise.
CONTENT_SIZE, CONTENT_NOISE = 8, 0.5

BIAS = -1.7
# Weight, then the columns whose latents are multiplied.
TERMS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.45, ("user",)),
    (0.45, ("item",)),
    (0.35, ("query",)),
    (0.35, ("site",)),
    (0.35, ("category",)),
    (0.25, ("region",)),
    (0.15, ("hour",)),
    (0.25, ("device",)),
    (0.25, ("price",)),
    (0.25, ("recency",)),
    (0.25, ("content",)),
    (0.85, ("user", "item")),
    (0.60, ("query", "category")),
    (0.55, ("site", "device")),
    (0.35, ("user", "price")),
    (0.35, ("query", "content")),
    (0.25, ("region", "hour")),
    (0.95, ("user", "item", "site")),
    (0.80, ("query", "category", "device")),
    (1.00, ("user", "item", "query", "category")),
)
CONVERSION_BIAS = -1.4
CONVERSION_TERMS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.50, ("user",)),
    (0.60, ("item",)),
    (-0.60, ("price",)),
    (0.30, ("recency",)),
    (0.70, ("user", "item")),
    (0.60, ("user", "price")),
    (0.70, ("query", "category", "device")),
)


@dataclasses.dataclass(frozen=True)
class SyntheticLog(BlockLog):
    """Rows of a click log, addressed by split and row number.

    Args:
        seed: seed of the latents and all rows. Defaults to 0.
        tasks: ("click",), or ("click", "conversion"), which adds a column
            and leaves the others unchanged. Defaults to ("click",).
    """

    seed: int = 0
    tasks: tuple[str, ...] = ("click",)

    def __post_init__(self):
        schema.check_int("synthetic log", "seed", self.seed, 0)
        if self.tasks not in (("click",), ("click", "conversion")):
            raise ConfigError(
                "synthetic log: `tasks` must be ('click',) or ('click', "
                f"'conversion'); received {self.tasks!r}."
            )

    @property
    def spec(self) -> config.FeatureSpec:
        """Feature spec of the log's columns."""
        return config.FeatureSpec(
            categorical=tuple(
                config.CategoricalFeature(name, num_ids)
                for name, (num_ids, _) in IDS.items()
            ),
            numeric=tuple(
                config.NumericFeature(name, *scale)
                for name, scale in NUMBERS.items()
            ),
            vector=(config.VectorFeature("content", CONTENT_SIZE),),
            tasks=tuple(
                config.Task(
                    task, LABELS[task], missing_labels=task == "conversion"
                )
                for task in self.tasks
            ),
            group="user",
        )

    def block(self, split: str, index: int) -> Batch:
        """Returns one block of rows; see `BlockLog.block`."""
        random = generator(self.seed, SPLITS.index(split), index)
        batch: Batch = {}
        for name, (law, _) in self._columns.items():
            ids = np.searchsorted(law, random.random(BLOCK_ROWS), "right")
            batch[name] = ids.astype(np.int32)
        gamma = random.standard_gamma(PRICE_SHAPE, BLOCK_ROWS)
        gamma *= NUMBERS["price"][1] / PRICE_SHAPE
        batch["price"] = np.expm1(gamma).astype(np.float32)
        _, mean, stddev = NUMBERS["recency"]
        normal = random.standard_normal(BLOCK_ROWS, dtype=np.float32)
        batch["recency"] = mean + stddev * normal
        size = (BLOCK_ROWS, CONTENT_SIZE)
        noise = random.standard_normal(size, dtype=np.float32)
        item_content, _ = self._content
        batch["content"] = item_content[batch["item"]] + CONTENT_NOISE * noise
        add_label(batch, "click", self.logits(batch), random)
        if "conversion" in self.tasks:
            _add_conversions(self, batch, split, index)
        return batch

    def logits(self, batch: Batch) -> np.ndarray:
        """Returns true logits, float64 [B], of rows of `rows` or any others."""
        return self._logits(batch, BIAS, TERMS)

    def conversion_logits(self, batch: Batch) -> np.ndarray:
        """Returns true logits of a conversion given a click, float64 [B]."""
        return self._logits(batch, CONVERSION_BIAS, CONVERSION_TERMS)

    def _logits(self, batch, bias, terms):
        latents = {
            name: latent[batch[name]]
            for name, (_, latent) in self._columns.items()
        }
        for name, (transform, mean, stddev) in NUMBERS.items():
            value = batch[name].astype(np.float64)
            value = np.log1p(value) if transform == "log1p" else value
            latents[name] = (value - mean) / stddev
        latents["content"] = batch["content"] @ self._content[1]  # [B]
        total = np.full(len(latents["content"]), bias)
        for weight, names in terms:
            product = weight * latents[names[0]]
            for name in names[1:]:
                product *= latents[name]
            total += product
        return total

    @functools.cached_property
    def _columns(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Cumulative distribution and latents of the ids of each column."""
        columns = {}
        for number, (name, (num_ids, exponent)) in enumerate(IDS.items()):
            law = zipf(num_ids, exponent)
            random = generator(self.seed, len(SPLITS), number)
            # Bounded, so that products of several have light tails.
            angle = random.uniform(0, 2 * np.pi, num_ids)
            total = np.cumsum(law)
            latent = _standardized(np.cos(angle), law)
            columns[name] = (total / total[-1], latent)
        return columns

    @functools.cached_property
    def _content(self) -> tuple[np.ndarray, np.ndarray]:
        """Each item's mean content, and the direction that gives its latent."""
        law = zipf(*IDS["item"])
        random = generator(self.seed, len(SPLITS), len(IDS))
        size = (len(law), CONTENT_SIZE)
        mean = _standardized(random.standard_normal(size), law)
        direction = random.standard_normal(CONTENT_SIZE)
        variance = np.square(mean @ direction) @ law
        variance += CONTENT_NOISE**2 * (direction @ direction)
        return mean.astype(np.float32), direction / variance**0.5


def zipf(num_ids: int, exponent: float) -> np.ndarray:
    """Returns Zipf's law, p(id) ~ (id + 1)^-exponent, float64 [num_ids]."""
    mass = np.arange(1, num_ids + 1, dtype=np.float64) ** -exponent
    return mass / mass.sum()


def _standardized(values, law):
    """Returns values [n, ...] scaled to mean 0, variance 1 under `law` [n]."""
    values = values - law @ values
    return values / (law @ np.square(values)) ** 0.5


def _add_conversions(log, batch, split, index):
    """Adds conversion labels, drawn from a random stream of their own."""
    random = generator(log.seed, SPLITS.index(split), index, 1)
    probability = 1 / (1 + np.exp(-log.conversion_logits(batch)))
    label = random.random(BLOCK_ROWS) < probability
    batch["conversion"] = np.where(
        batch["label"] == 1, label.astype(np.float32), np.float32(np.nan)
    )
    batch[PROBABILITY + "conversion"] = probability
