"""Strategies: raw logs, and the recipes that prepare them."""

import dataclasses
import datetime
import random
from typing import Any

from hypothesis import strategies as st

from trainer.preparation.columns import Column, Recipe
from wukong_tf.config.features import RECORD_KEYS

Row = dict[str, Any]

# Names that meet where a name becomes part of a path, a scope or a header.
NAMES = (
    "价格", "城市", "user id", "user_id", "user.id", "User_ID", "a:b", "a,b",
    "e\u0301", "\u00e9", "label", "click", "weight", "group", "_place",
    "value", "count", "self", "class", "..", "con", "0", "-", "\U0001f600",
)  # fmt: skip
# Text that readers of CSV, numbers and vocabularies take for something else.
TEXTS = (
    "a", "b", "B", "aa", "0", "1", "01", "1.0", "1_0", "-1", "1e3", "nan",
    "NA", "null", "None", "true", "٣", "１２", "é", "e\u0301", "价", " ", " a",
    "a ", "a,b", 'a"b', '"', "a\tb", "a;b", "\u2028", "\ufeff", "x" * 40,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Field:
    """A column of the raw files.

    Args:
        name: of the column.
        kind: "text", "integer", "real", "time", "texts", "integers" or
            "reals".
        separator: between the values of a list that is written as text;
            None for a list of Parquet.
    """

    name: str
    kind: str
    separator: str | None = None


@dataclasses.dataclass(frozen=True)
class Log:
    """Raw rows by split, and what is made of them.

    Args:
        recipe: what is made.
        fields: the columns of the files.
        splits: rows by split; a split without rows has no files.
        options: of the command: min_count, max_vocabulary, oov_buckets.
        parquet: whether the files are Parquet, or text.
    """

    recipe: Recipe
    fields: tuple[Field, ...]
    splits: dict[str, list[Row]]
    options: dict[str, int]
    parquet: bool

    @property
    def train(self) -> list[Row]:
        """The rows that are learned from."""
        rows = self.splits["train"]
        if self.splits["valid"]:
            return rows
        return [row for place, row in enumerate(rows) if place % 20]

    @property
    def divided(self) -> dict[str, list[Row]]:
        """The rows by the split that they are written to."""
        if self.splits["valid"]:
            return self.splits
        apart = self.splits["train"][::20]
        return {**self.splits, "train": self.train, "valid": apart}


def names(parquet: bool) -> st.SearchStrategy[str]:
    """Names that a column may have."""
    free = st.text(
        st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5
    )
    found = st.one_of(st.sampled_from(NAMES), free)
    return found.filter(lambda name: _may_name(name, parquet))


def _may_name(name, parquet):
    if "/" in name or name in RECORD_KEYS:
        return False  # the second, for names of tasks
    return parquet or name == name.strip()


def texts() -> st.SearchStrategy[str]:
    """Values of a text column; NUL is refused in text files."""
    characters = st.characters(
        exclude_categories=["Cs"], exclude_characters="\x00"
    )
    free = st.text(characters, max_size=4)
    return st.one_of(st.sampled_from(TEXTS), free)


def integers() -> st.SearchStrategy[int]:
    """Values of an integer column: small ones, and all that int64 holds."""
    return st.one_of(
        st.integers(-2, 5), st.integers(-(2**63), 2**63 - 1), st.just(2**53 + 1)
    )


def reals() -> st.SearchStrategy[float]:
    """Numbers that float32 holds, whole ones and the largest among them."""
    return st.one_of(
        st.integers(-3, 3).map(float),
        st.floats(-1e6, 1e6, width=32),
        st.sampled_from([2.0**-30, 1e9 + 64, 2.0**63, -0.0]),
    )


@st.composite
def _pool(draw, field: Field, size: int):
    """The few values that a column's rows are drawn from."""
    one: Any = {
        "text": texts(),
        "integer": integers(),
        "real": reals(),
        "time": st.datetimes(
            datetime.datetime(2000, 1, 1), datetime.datetime(2029, 1, 1)
        ).map(lambda time: time.strftime("%y%m%d%H")),
        "texts": st.lists(_bag_texts(field.separator), max_size=3),
        "integers": st.lists(integers(), max_size=3),
        "reals": st.lists(reals(), min_size=size, max_size=size),
    }[field.kind]
    pool = draw(st.lists(one, min_size=1, max_size=6))
    if field.kind != "reals" and draw(st.booleans()):
        pool.append(None)
    return pool


def _bag_texts(separator):
    if separator is None:
        return texts()
    return texts().filter(lambda text: separator not in text)


@st.composite
def logs(draw, parquet: bool | None = None) -> Log:
    """Any log: its rows, a recipe, and options of the command.

    Args:
        draw: gives an example of a strategy.
        parquet: whether the files are Parquet. Defaults to None, either.
    """
    if parquet is None:
        parquet = draw(st.booleans())
    named = draw(st.lists(names(parquet), min_size=2, max_size=8, unique=True))
    label, *rest = named
    columns: list[Column] = []
    fields: dict[str, Field] = {}
    sizes: dict[str, int] = {}
    for name in rest:
        column, field = draw(_column(name, parquet, fields, sizes))
        columns.append(column)
        fields.setdefault(field.name, field)
    columns = draw(_shared(columns))
    single = [
        c.name for c in columns if c.kind == "categorical" and not c.is_bag
    ]
    recipe = Recipe(
        tuple(columns),
        label,
        group=draw(st.sampled_from([None, *single])),
        **draw(_labels()),
    )
    pools = {
        name: draw(_pool(field, sizes.get(name, 0)))
        for name, field in fields.items()
        if name != label
    }
    splits = draw(_rows(recipe, pools))
    options = {"min_count": draw(st.integers(1, 3))}
    if draw(st.booleans()):
        options["oov_buckets"] = draw(st.integers(2, 4))
    if draw(st.booleans()):
        options["max_vocabulary"] = draw(st.integers(1, 4))
    return Log(
        recipe,
        (Field(label, "label"), *fields.values()),
        splits,
        options,
        parquet,
    )


@st.composite
def _labels(draw):
    """What a recipe says of labels."""
    return draw(
        st.sampled_from(
            [{}, {"negatives": ("no", "never"), "positives": ("yes",)}]
        )
    )


# By the recipe's words, what stands for 0 and for 1 in a log.
_LABELS: list[tuple[list[Any], list[Any]]] = [
    ([0], [1]),
    ([0.0], [1.0]),
    ([False], [True]),
    (["0", " 0", "0.0", "no", "No", "FALSE", "f"], ["1", "1.0", "Yes", "t "]),
]
_NAMED: list[tuple[list[Any], list[Any]]] = [(["no", "never", "No "], ["yes"])]


@st.composite
def _column(draw, name, parquet, fields, sizes):
    """A feature, and the column of the files that it is made of."""
    kind = draw(st.sampled_from(["categorical", "categorical", "numeric", "bag",
                                 "vector"]))  # fmt: skip
    if kind == "numeric":
        field = Field(name, draw(st.sampled_from(["real", "integer"])))
        transform = draw(st.sampled_from(["none", "log1p"]))
        missing = draw(st.sampled_from([0.0, -2.5]))
        column = Column(name, "numeric", transform=transform, missing=missing)
        return column, field
    if kind == "vector":
        separator = None if parquet and draw(st.booleans()) else " "
        sizes[name] = draw(st.integers(1, 3))
        column = Column(name, "vector", separator=separator, size=sizes[name])
        return column, Field(name, "reals", separator)
    buckets = draw(st.sampled_from([0, 0, 0, 1, 7]))
    if kind == "bag":
        separator = None if parquet and draw(st.booleans()) else "|"
        values = ["texts"] if separator else ["texts", "integers"]
        column = Column(
            name,
            separator=separator,
            longest=3,
            buckets=buckets,
            pooling=draw(st.sampled_from(["sum", "mean", "sqrtn"])),
        )
        return column, Field(name, draw(st.sampled_from(values)), separator)
    rule = draw(st.sampled_from(["text", "text", "log2", "hour", "weekday",
                                 "weekend"]))  # fmt: skip
    values = {"text": ["text", "integer"], "log2": ["integer"]}
    field = Field(name, draw(st.sampled_from(values.get(rule, ["time"]))))
    # Several features may be made of one column.
    same = [f for f in fields.values() if f.kind == field.kind]
    if same and draw(st.booleans()):
        field = draw(st.sampled_from(same))
    source = None if field.name == name else field.name
    return Column(name, source=source, rule=rule, buckets=buckets), field


@st.composite
def _shared(draw, columns):
    """The columns, some of which share a table."""
    ids = [c for c in columns if c.kind == "categorical"]
    if len(ids) < 2 or not draw(st.booleans()):
        return columns
    first, *others = draw(st.permutations(ids))
    # What a rule changes is an id to clients, and the rest raw values.
    others = [c for c in others if (c.rule == "text") == (first.rule == "text")]
    if not others:
        return columns
    table = draw(st.sampled_from([first.name, "shared", "价-格"]))
    if table in {c.name for c in ids if c is not first}:
        return columns
    members = {c.name for c in (first, draw(st.sampled_from(others)))}
    return [
        dataclasses.replace(c, table=table, buckets=first.buckets)
        if c.name in members
        else c
        for c in columns
    ]


@st.composite
def _rows(draw, recipe, pools):
    """Rows of every split, drawn from the pools."""
    generator = random.Random(draw(st.integers(0, 2**32)))
    known = _NAMED if "never" in recipe.negatives else _LABELS
    negatives, positives = draw(st.sampled_from(known))
    counts = {
        "train": draw(st.integers(2, 45)),
        "valid": draw(st.sampled_from([0, 1, 7])),
        "test": draw(st.sampled_from([0, 1, 7])),
    }
    return {
        split: [
            {
                recipe.label: generator.choice(
                    generator.choice([negatives, positives])
                ),
                **{
                    name: generator.choice(pool) for name, pool in pools.items()
                },
            }
            for _ in range(count)
        ]
        for split, count in counts.items()
    }
