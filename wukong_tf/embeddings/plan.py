"""Assigns tables to fused variables and row offsets."""

import dataclasses
from collections.abc import Collection

from wukong_tf.config.feature_spec import FeatureSpec
from wukong_tf.errors import ConfigError

MAX_FUSED_ROWS = 2**31 - 1  # the lookup engine indexes rows in int32


@dataclasses.dataclass(frozen=True)
class Table:
    """A named run of rows in a fused table.

    Args:
        name: the table's own name.
        rows: number of rows, one per id.
        offset: row of the fused table that holds the table's id 0.
    """

    name: str
    rows: int
    offset: int


@dataclasses.dataclass(frozen=True)
class FusedTable:
    """All tables of one width and placement, concatenated in one variable.

    Args:
        width: floats in a row.
        tables: the tables, in the order of their rows.
        features: names of the features that read them, in spec order.
        offsets: for each feature, the first row of its table.
        columns: for each feature, ids per row: 1, or the most in a bag.
        host: whether the variable is in host memory, whatever the device of the
            rest of the model.
        sharded: whether its rows are sharded over the workers of a run.
    """

    width: int
    tables: tuple[Table, ...]
    features: tuple[str, ...]
    offsets: tuple[int, ...]
    columns: tuple[int, ...]
    host: bool = False
    sharded: bool = False

    @property
    def name(self) -> str:
        """Name of the layer, such as "tables_16" or "host_tables_16"."""
        where = "host_" * self.host or "sharded_" * self.sharded
        return f"{where}tables_{self.width}"

    @property
    def rows(self) -> int:
        """Rows of all tables together."""
        return sum(table.rows for table in self.tables)


def plan_tables(
    spec: FeatureSpec,
    embedding_dim: int,
    *,
    host_tables: Collection[str] = (),
    sharded_tables: Collection[str] = (),
) -> tuple[FusedTable, ...]:
    """Returns the fused tables of `spec`, widest first.

    Args:
        spec: the features.
        embedding_dim: default width of tables.
        host_tables: names of the tables kept in host memory. Defaults to (),
            none: all are on the model's device.
        sharded_tables: names of the tables whose rows are sharded over
            workers. Defaults to (), none: each worker holds all rows.

    Raises:
        ConfigError: a width's tables have more rows than int32 can index and
            are not sharded, or a table is both in host memory and sharded.
    """
    if both := sorted({*host_tables} & {*sharded_tables}):
        raise ConfigError(
            f"tables {both} cannot be sharded, as they are in host memory."
        )
    groups: dict[tuple[int, bool, bool], list] = {}
    for feature in spec.categorical:
        width = (feature.embedding_dim or embedding_dim) * feature.kept_units
        host = feature.table_name in host_tables
        sharded = feature.table_name in sharded_tables
        groups.setdefault((width, host, sharded), []).append(feature)
    order = sorted(groups, key=lambda key: (-key[0], *key[1:]))
    return tuple(_fuse(*key, groups[key]) for key in order)


def _fuse(width, host, sharded, features):
    tables: dict[str, Table] = {}
    rows = 0
    for feature in features:
        if feature.table_name not in tables:
            tables[feature.table_name] = Table(
                feature.table_name, feature.num_ids, rows
            )
            rows += feature.num_ids
    if rows > MAX_FUSED_ROWS and not sharded:
        raise ConfigError(
            f"the tables of width {width} ({', '.join(tables)}) must have at "
            f"most {MAX_FUSED_ROWS} rows together; they have {rows}."
        )
    return FusedTable(
        width=width,
        tables=tuple(tables.values()),
        features=tuple(feature.name for feature in features),
        offsets=tuple(tables[f.table_name].offset for f in features),
        columns=tuple(f.ids_per_row for f in features),
        host=host,
        sharded=sharded,
    )
