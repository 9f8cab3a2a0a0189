"""Makes a shop's raw click log, as the tutorial reads it."""

import collections
import csv
import dataclasses
import datetime
import os

import numpy as np

COLUMNS = (
    "request id", "time", "user id", "city", "device", "item id", "category",
    "tags", "last clicks", "price", "rating",
)  # fmt: skip
LABEL = "clicked"
FIRST_DAY = datetime.date(2026, 3, 2)  # a Monday
DAYS = 8  # written with labels; the last one without them too
TOMORROW = "tomorrow.csv"

_USERS, _ITEMS, _FACTORS = 1_500, 300, 4
_CITIES = ("Łódź", "København", "São Paulo", "Zürich", "Accra", "京都")
_DEVICES = ("phone", "tablet", "desktop")
_CATEGORIES = ("books", "cafés", "jouets", "Küche", "música", "обувь", "花")
_TAGS = ("new", "sale", "gift", "eco", "local", "rare")
_HISTORY = 5  # most items in "last clicks"
_FIRST_ITEM, _ITEM_STEP = 40_000_000, 7_919


@dataclasses.dataclass(frozen=True)
class Shop:
    """Users and items of a shop, and what decides their clicks.

    Args:
        tastes: latent factors of users, float64 [users, factors].
        thrift: aversion of users to high prices, float64 [users].
        homes: index of each user's city, int64 [users].
        appeal: latent factors of items, float64 [items, factors].
        quality: additive effect of items, float64 [items].
        category: index of each item's category, int64 [items].
        tags: whether an item has a tag, bool [items, tags].
        price: price of items, with two decimals, float64 [items].
        since: first day of items, from 0, int64 [items].
        peak: hour at which each category sells best, float64 [categories].
    """

    tastes: np.ndarray
    thrift: np.ndarray
    homes: np.ndarray
    appeal: np.ndarray
    quality: np.ndarray
    category: np.ndarray
    tags: np.ndarray
    price: np.ndarray
    since: np.ndarray
    peak: np.ndarray

    @classmethod
    def make(cls, random: np.random.Generator) -> "Shop":
        """Draws a shop."""
        category = random.integers(0, len(_CATEGORIES), _ITEMS)
        common = random.normal(0, 1, (len(_CATEGORIES), _FACTORS))
        since = random.integers(0, DAYS + 1, _ITEMS)
        since[random.random(_ITEMS) < 0.8] = 0
        return cls(
            tastes=random.normal(0, 1, (_USERS, _FACTORS)),
            thrift=random.normal(0.6, 0.6, _USERS),
            homes=random.integers(0, len(_CITIES), _USERS),
            appeal=common[category] + random.normal(0, 0.5, (_ITEMS, _FACTORS)),
            quality=random.normal(0, 0.4, _ITEMS),
            category=category,
            tags=random.random((_ITEMS, len(_TAGS))) < 0.35,
            price=np.exp(random.normal(3, 0.7, _ITEMS)).round(2),
            since=since,
            peak=random.uniform(0, 24, len(_CATEGORIES)),
        )

    def logits(self, user, item, hour, device) -> np.ndarray:
        """Returns the log-odds of a click, float64 [N].

        Args:
            user: indices of users, int64 [N].
            item: indices of items, int64 [N].
            hour: hours of the day, float64 [N].
            device: indices of devices, int64 [N].
        """
        kind = self.category[item]
        taste = (self.tastes[user] * self.appeal[item]).sum(1) / 2
        cost = self.thrift[user] * (np.log(self.price[item]) - 3)
        season = np.cos(2 * np.pi * (hour - self.peak[kind]) / 24)
        # On phones a sale counts for more, and the hour for less.
        phone = device == 0
        sale = self.tags[item, _TAGS.index("sale")]
        return (
            -1.6
            + self.quality[item]
            + taste
            - cost
            + np.where(phone, 0.3, 0.9) * season
            + np.where(phone, 0.8, -0.3) * sale
        )

    @property
    def rating(self) -> np.ndarray:
        """Ratings of items from 1 to 5, which follow their quality."""
        return np.clip(3.6 + 1.5 * self.quality, 1, 5).round(1)

    @property
    def tag_texts(self) -> list[str]:
        """The tags of each item, as Python writes a list."""
        tags = np.array(_TAGS)
        return [str(tags[each].tolist()) for each in self.tags]


def write(folder: str, rows: int, seed: int) -> list[str]:
    """Writes a CSV file for each day of the log; returns their paths.

    Users prefer items by latent factors, so that a model has to learn
    interactions to predict clicks. The rows of the last day are written once
    more without labels, as "tomorrow.csv".

    Args:
        folder: directory to make; it must not exist.
        rows: rows of a day.
        seed: seed of the log; the same seed gives the same bytes.
    """
    os.makedirs(folder)
    random = np.random.default_rng(seed)
    shop = Shop.make(random)
    clicks: dict[str, collections.deque[str]] = collections.defaultdict(
        lambda: collections.deque(maxlen=_HISTORY)
    )
    _day(shop, 0, rows, clicks, random)  # only for "last clicks"
    paths = []
    for day in range(1, DAYS + 1):
        table = _day(shop, day, rows, clicks, random)
        paths.append(os.path.join(folder, f"{_midnight(day).date()}.csv"))
        _write(paths[-1], (*COLUMNS, LABEL), table)
    paths.append(os.path.join(folder, TOMORROW))
    _write(paths[-1], COLUMNS, [row[:-1] for row in table])
    return paths


def _write(path, names, table):
    with open(path, "x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(table)


def _midnight(day):
    """Returns the start of a day of the log, which are counted from 1."""
    start = datetime.datetime.combine(FIRST_DAY, datetime.time())
    return start + datetime.timedelta(days=day - 1)


def _day(shop, day, rows, clicks, random) -> list[tuple]:
    """Returns the rows of a day in the order of their times.

    Args:
        shop: the shop.
        day: number of the day, from 1; 0 is the one before the log.
        rows: number of rows.
        clicks: ids of the items that each user clicked last, the newest
            first, which is updated.
        random: source of all random numbers.
    """
    # More requests in the evening.
    second = np.sort(86_400 * random.beta(2.5, 1.7, rows)).astype(np.int64)
    popular = 1 / np.arange(3, _ITEMS + 3) ** 0.7 * (shop.since <= day)
    item = random.choice(_ITEMS, rows, p=popular / popular.sum())
    user = (_USERS * random.random(rows) ** 1.7).astype(np.int64)
    device = random.choice(len(_DEVICES), rows, p=(0.6, 0.1, 0.3))
    logit = shop.logits(user, item, second / 3600, device)
    clicked = random.random(rows) < 1 / (1 + np.exp(-logit))
    midnight = np.datetime64(_midnight(day), "s")
    columns = (
        [f"{key:012x}" for key in random.integers(0, 2**48, rows)],
        [str(time).replace("T", " ") for time in midnight + second],
        [f"u{each:05d}" for each in user],
        _with_gaps(np.array(_CITIES)[shop.homes[user]], "", 0.03, random),
        np.array(_DEVICES)[device].tolist(),
        [str(each) for each in _FIRST_ITEM + _ITEM_STEP * item],
        np.array(_CATEGORIES)[shop.category[item]].tolist(),
        np.array(shop.tag_texts)[item].tolist(),
        _with_gaps(shop.price[item], "n/a", 0.02, random),
        _with_gaps(shop.rating[item], "", 0.08, random),
        np.where(clicked, "true", "false").tolist(),
    )
    return [
        (*row[:8], before, *row[8:])
        for row, before in zip(
            zip(*columns, strict=True),
            _last_clicks(columns[2], columns[5], clicked, clicks),
            strict=True,
        )
    ]


def _with_gaps(values, missing, share, random) -> list[str]:
    """Returns values as texts, a share of them replaced by `missing`."""
    gaps = random.random(len(values)) < share
    return [
        missing if gap else f"{value}"
        for value, gap in zip(values.tolist(), gaps, strict=True)
    ]


def _last_clicks(users, items, clicked, clicks) -> list[str]:
    """Returns each user's last clicks before each row, and updates `clicks`."""
    before = []
    for user, item, click in zip(users, items, clicked, strict=True):
        before.append("|".join(clicks[user]))
        if click:
            clicks[user].appendleft(item)
    return before
