"""Parquet files as a source: streamed by row group, checked, shuffled."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.data.file_source import FileSource
from trainer.data.paths import prepare_hint
from trainer.data.shuffling import Block
from wukong_tf.config import encodings
from wukong_tf.errors import DataError, one_line
from wukong_tf.rows.schemas import check_type


class ParquetSource(FileSource):
    """Reads the rows of Parquet files; a block is a row group.

    Args and errors are those of `FileSource`.

    Attributes:
        prepared: whether every file's metadata records its id encodings.
    """

    prepared = True
    part = "row group"

    def open(self, path) -> Iterator[Block]:
        """Yields the row groups of a file after checking its columns."""
        try:
            with pq.ParquetFile(path) as file:
                metadata, schema = file.metadata, file.schema_arrow
        except (OSError, pa.ArrowException, UnicodeError) as error:
            raise DataError(
                f"{path}: cannot be read as Parquet: {one_line(error)}"
                f"{prepare_hint(path)}"
            ) from error
        encodings.check(path, schema.metadata, self.spec)
        if encodings.read(schema.metadata) is None:
            self.prepared = False
        for check in self.checks:
            check_type(path, schema, check)
        self._metadata[path] = metadata
        first_row = 0
        for index in range(metadata.num_row_groups):
            num_rows = metadata.row_group(index).num_rows
            if num_rows:
                yield Block(path, index, first_row, num_rows)
            first_row += num_rows
        if first_row != metadata.num_rows:
            raise DataError(
                f"{path}: is damaged: it should have {metadata.num_rows} "
                f"rows, but its row groups have {first_row}."
            )

    def table(self, block) -> pa.Table:
        """Returns the rows of a row group."""
        with pq.ParquetFile(
            block.path, metadata=self._metadata[block.path]
        ) as file:
            return file.read_row_group(block.index, columns=self.names)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Returns (min, max) of each column with statistics in all files."""
        ranges: dict[str, tuple[float, float]] = {}
        unknown = set()
        for metadata in self._metadata.values():
            for group in range(metadata.num_row_groups):
                row_group = metadata.row_group(group)
                for place in range(row_group.num_columns):
                    column = row_group.column(place)
                    name = column.path_in_schema
                    if metadata.schema.column(place).max_repetition_level:
                        name = name.rsplit(".", 2)[0]  # NAME.list.element
                    if name not in self.names:
                        continue
                    numbers = column.statistics
                    if (
                        numbers is None
                        or not numbers.has_min_max
                        or not isinstance(numbers.min, int | float)
                    ):
                        unknown.add(name)
                        continue
                    least, most = float(numbers.min), float(numbers.max)
                    low, high = ranges.get(name, (least, most))
                    ranges[name] = (min(low, least), max(high, most))
        return {n: ranges[n] for n in ranges if n not in unknown}
