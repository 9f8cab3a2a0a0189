"""Known public data sets and their rules.

Rules and checksums are those of BARS (Zhu et al., "BARS: Towards Open
Benchmarking for Recommender Systems", SIGIR 2022) if it publishes any, for
the data sets at github.com/reczoo/Datasets.
"""

import functools
from collections.abc import Callable, Sequence

from trainer.preparation.columns import Column, Recipe
from trainer.preparation.forms import Dataset, Form
from trainer.preparation.records import Layout
from trainer.preparation.splitting import SPLITS


def _csv(recipe: Recipe, md5: Sequence[str], splits=SPLITS, **options) -> Form:
    """Returns the form of one CSV file per split, also with .gz."""
    names = [f"{split}.csv" for split in splits]
    return Form(
        {s: (f"{s}.csv", f"{s}.csv.gz") for s in splits},
        recipe,
        md5=dict(zip(names, md5, strict=True)),
        **options,
    )


_csv_pair = functools.partial(_csv, splits=("train", "test"), rule="every")


def _categorical(names, **options) -> tuple[Column, ...]:
    return tuple(Column(name, **options) for name in names)


def _bag(name, table, longest) -> Column:
    """Returns a bag joined by "^" that shares a table."""
    return Column(name, table=table, separator="^", longest=longest)


_INTEGERS = tuple(f"I{number}" for number in range(1, 14))
_TOKENS = tuple(f"C{number}" for number in range(1, 27))


# Criteo's own files: tab-separated, without a header.
_CRITEO = Layout("\t", ("Label", *_INTEGERS, *_TOKENS), quote=False)


def _criteo_kaggle(integer_rule: str) -> Dataset:
    """Returns Criteo's Kaggle log, 45,840,617 rows of seven days."""
    columns = _categorical(_INTEGERS, rule=integer_rule)
    recipe = Recipe((*columns, *_categorical(_TOKENS)), "Label")
    files = {"all": ("train.txt", "train.txt.gz")}
    whole = Form(files, recipe, _CRITEO, rule="folds")
    md5 = (
        "4a53bb7cbc0e4ee25f9d6a73ed824b1a",
        "fba5428b22895016e790e2dec623cb56",
        "cfc37da0d75c4d2d8778e76997df2976",
    )
    return Dataset("criteo_kaggle", (whole, _csv(recipe, md5)), min_count=10)


def _criteo_x1() -> Dataset:
    """Returns BARS' Criteo_x1: the same log, split at random, numbers scaled.

    The split and its numbers are those of Cheng et al., "Adaptive
    Factorization Network", AAAI 2020; a token is the index of a feature.
    """
    columns = tuple(
        Column(name, "numeric", transform="none") for name in _INTEGERS
    )
    md5 = (
        "30b89c1c7213013b92df52ec44f52dc5",
        "f73c71fb3c4f66b6ebdfa032646bea72",
        "2c48b26e84c04a69b948082edae46f8c",
    )
    recipe = Recipe((*columns, *_categorical(_TOKENS)))
    return Dataset("criteo_x1", (_csv(recipe, md5),))


# Ids of each token column in MLPerf's DLRM, none above 40 million; with two
# reserved ones, the tables have the 204 million rows of arXiv 2403.02545.
CRITEO_1TB_BUCKETS = (
    40_000_000, 39_060, 17_295, 7_424, 20_265, 3, 7_122, 1_543, 63,
    40_000_000, 3_067_956, 405_282, 10, 2_209, 11_938, 155, 4, 976, 14,
    40_000_000, 40_000_000, 40_000_000, 590_152, 12_973, 108, 36,
)  # fmt: skip


def _criteo_1tb() -> Dataset:
    """Returns Criteo's 24-day log, 4,373,472,329 rows, last day held out."""
    columns = tuple(Column(name, "numeric") for name in _INTEGERS)
    columns += tuple(
        Column(name, buckets=buckets)
        for name, buckets in zip(_TOKENS, CRITEO_1TB_BUCKETS, strict=True)
    )
    files = {"all": ("day_{}", "day_{}.gz")}
    form = Form(files, Recipe(columns, "Label"), _CRITEO, rule="last")
    return Dataset("criteo_1tb", (form,))


_AVAZU = (
    "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id",
    "app_domain", "app_category", "device_id", "device_ip", "device_model",
    "device_type", "device_conn_type", "C14", "C15", "C16", "C17", "C18",
    "C19", "C20", "C21",
)  # fmt: skip


def _avazu() -> Dataset:
    """Returns Avazu's Kaggle log, 40,428,967 rows of ten days."""
    columns = tuple(
        Column(name, source="hour", rule=name)
        for name in ("hour", "weekday", "weekend")
    )
    recipe = Recipe((*columns, *_categorical(_AVAZU)), "click")
    files = {"all": ("train", "train.csv", "train.gz", "train.csv.gz")}
    whole = Form(files, recipe, rule="folds")
    md5 = (
        "de3a27264cdabf66adf09df82328ccaa",
        "33232931d84d6452d3f956e936cab2c9",
        "3ebb774a9ca74d05919b84a3d402986d",
    )
    return Dataset("avazu", (_csv(recipe, md5), whole), min_count=2)


_FRAPPE = (
    "user", "item", "daytime", "weekday", "isweekend", "homework", "cost",
    "weather", "country", "city",
)  # fmt: skip


def _frappe() -> Dataset:
    """Returns Frappe's log of which apps users opened (arXiv 1505.03014).

    Two published forms hold the same split 7:2:1: comma-separated files
    (BARS' Frappe_x1) and libFM files (He and Chua, "Neural Factorization
    Machines", SIGIR 2017).
    """
    md5 = (
        "ba7306e6c4fc19dd2cd84f2f0596d158",
        "88d51bf2173505436d3a8f78f2a59da8",
        "3470f6d32713dc5f7715f198ca7c612a",
    )
    recipe = Recipe(
        _categorical(_FRAPPE, rule="digits"),
        negatives=("0", "-1"),  # libFM files write -1 for no click
        positives=("1",),
        group="user",
    )
    return Dataset(
        "frappe", (_csv(recipe, md5), _libfm(recipe, _FRAPPE, "frappe."))
    )


def _libfm(recipe, names, prefix) -> Form:
    """Returns the form with lines `LABEL INDEX:1 ...`, an index per column."""
    words = {
        "train": ("train",),
        "valid": ("valid", "validation"),
        "test": ("test",),
    }
    return Form(
        {
            split: tuple(
                f"{start}{word}.{ending}"
                for ending in ("libfm", "libsvm")
                for start in ("", prefix)
                for word in choices
            )
            for split, choices in words.items()
        },
        recipe,
        Layout(" ", ("label", *names), quote=False, strip=r":1(\.0*)?"),
    )


def _movielens() -> Dataset:
    """Returns MovieLens-Latest's tags: does a user give an item a tag?"""
    names = ("user_id", "item_id", "tag_id")
    md5 = (
        "efc8bceeaa0e895d566470fc99f3f271",
        "e1930223a5026e910ed5a48687de8af1",
        "54e8c6baff2e059fe067fb9b69e692d0",
    )
    recipe = Recipe(
        _categorical(names), negatives=("0", "-1"), positives=("1",)
    )
    return Dataset(
        "movielens_tags",
        (_csv(recipe, md5), _libfm(recipe, names, "ml-tag.")),
    )


def _kuaivideo() -> Dataset:
    """Returns clicks on Kuaishou's micro-videos."""
    columns = (
        Column("user_id"),
        Column("item_id"),
        _bag("pos_items", "item_id", 100),
        _bag("neg_items", "item_id", 100),
        Column("item_visual", "vector", size=64, key="item_id"),
    )
    md5 = (
        "16f13734411532cc313caf2180bfcd56",
        "ba26c01caaf6c65c272af11aa451fc7a",
    )
    recipe = Recipe(columns, "is_click", group="user_id")
    return Dataset("kuaivideo", (_csv_pair(recipe, md5),), min_count=10)


def _microvideo() -> Dataset:
    """Returns clicks on 1.7 million micro-videos."""
    columns = (
        Column("user_id"),
        Column("item_id"),
        Column("cate_id"),
        _bag("clicked_items", "item_id", 100),
        _bag("clicked_categories", "cate_id", 100),
        Column("item_image", "vector", size=64, key="item_id"),
    )
    md5 = (
        "936e6612714c887e76226a60829b4e0a",
        "9417a18304fb62411ac27c26c5e0de56",
    )
    recipe = Recipe(columns, "is_click", group="user_id")
    return Dataset("microvideo1.7m", (_csv_pair(recipe, md5),))


_TAOBAO = (
    "userid", "cms_segid", "cms_group_id", "final_gender_code", "age_level",
    "pvalue_level", "shopping_level", "occupation", "new_user_class_level",
    "adgroup_id", "cate_id", "campaign_id", "customer", "brand", "pid", "btag",
)  # fmt: skip


def _taobao() -> Dataset:
    """Returns clicks on Taobao's display ads."""
    columns = (
        *_categorical(_TAOBAO),
        _bag("btag_his", "btag", 50),
        _bag("cate_his", "cate_id", 50),
        _bag("brand_his", "brand", 50),
        Column("price", "numeric"),
    )
    md5 = (
        "eaabfc8629f23519b04593e26c7522fc",
        "f5ae6197e52385496d46e2867c1c8da1",
    )
    recipe = Recipe(columns, "clk", group="userid")
    return Dataset("taobaoad", (_csv_pair(recipe, md5),), min_count=10)


# Files of vectors next to the rows, by data set.
SIDE_FILES = {
    "kuaivideo": {"item_visual": "item_visual_emb_dim64.h5"},
    "microvideo1.7m": {"item_image": "item_image_emb_dim64.h5"},
}
KNOWN: dict[str, Callable[[], Dataset]] = {
    "avazu": _avazu,
    "criteo_1tb": _criteo_1tb,
    "criteo_kaggle": functools.partial(_criteo_kaggle, "log2"),
    "criteo_x1": _criteo_x1,
    "frappe": _frappe,
    "kuaivideo": _kuaivideo,
    "microvideo1.7m": _microvideo,
    "movielens_tags": _movielens,
    "taobaoad": _taobao,
}
GENERIC = ("csv", "parquet")


def dataset(name: str, integer_rule: str = "log2") -> Dataset:
    """Returns the data set named `name`.

    Args:
        name: one of `KNOWN`.
        integer_rule: rule of Criteo's integers in "criteo_kaggle": "log2",
            as BARS describes Criteo_x4, or "squared_log", as in its code.
            Defaults to "log2".
    """
    if name == "criteo_kaggle":
        return _criteo_kaggle(integer_rule)
    return KNOWN[name]()
