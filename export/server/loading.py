"""Loading and warm-up of a version."""

import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import Executor

from export.served.naming import PREDICT
from export.server import wire
from export.server.batching import Batcher
from export.version import engines, published
from export.version.published import Published
from wukong_tf.errors import ExportError

WARM_ROUNDS = 3


@dataclasses.dataclass
class Loaded:
    """A loaded version.

    Args:
        published: the version.
        engine: engine with its model.
        batchers: signature to its Batcher.
        running: number of requests in progress. Defaults to 0.
    """

    published: Published
    engine: engines.Engine
    batchers: dict[str, Batcher]
    running: int = 0

    @property
    def waiting_rows(self) -> int:
        """Number of waiting rows of all signatures."""
        return sum(b.waiting_rows for b in self.batchers.values())

    @property
    def waiting_requests(self) -> int:
        """Number of waiting requests of all signatures."""
        return sum(b.waiting_requests for b in self.batchers.values())


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of loaded versions.

    Args:
        engine: "auto", "onnx" or "saved_model".
        threads: threads per computation; None for all processors.
        max_rows: largest number of rows per computation.
        max_waiting: largest number of waiting rows per signature.
        pinned: the only version to serve. Defaults to None, the highest.
        verify: whether to compare files with the manifest's digests before
            loading. Defaults to True.
    """

    engine: str
    threads: int | None
    max_rows: int
    max_waiting: int
    pinned: int | None = None
    verify: bool = True


def load(
    path: str,
    settings: Settings,
    executor: Executor,
    note_rows: Callable[[int, int], None],
) -> Loaded:
    """Loads and warms up a version.

    Args:
        path: directory of the version.
        settings: settings of loaded versions.
        executor: executor of the computations.
        note_rows: called with the version and the number of rows of each
            computation.

    Raises:
        ExportError: if it is not a version, one of its files has changed, or
            its example request fails.
    """
    version = published.read(path)
    if settings.verify:
        version.verify()
    kind = engines.choose(version, settings.engine)
    engine = engines.load(version, kind, settings.threads)
    _warm(version, engine, settings.max_rows)
    batchers = {
        name: Batcher(
            engine,
            name,
            executor,
            max_rows=settings.max_rows,
            max_waiting=settings.max_waiting,
            joins=not signature.context,
            note=functools.partial(note_rows, version.version),
        )
        for name, signature in engine.signatures.items()
    }
    return Loaded(version, engine, batchers)


def _warm(version: Published, engine: engines.Engine, max_rows: int):
    """Warms up a version with requests of several sizes."""
    example = version.example(published.EXAMPLE_COLUMNS)
    if example is None:
        return
    name, columns, _ = wire.predict_request(example, engine.signatures)
    assert name == PREDICT
    sizes = [n for n in version.manifest["batch_sizes"] if n < max_rows]
    for size in (*sizes, max_rows):
        rows = {key: _tiled(value, size) for key, value in columns.items()}
        for _ in range(WARM_ROUNDS):
            try:
                engine.run(PREDICT, rows)
            except engines.Refused as error:
                raise ExportError(
                    f"{version.path}: {published.EXAMPLE_COLUMNS} is rejected: "
                    f"{error}"
                ) from error


def _tiled(value, size):
    repeats = -(-size // len(value))
    return value.repeat(repeats, axis=0)[:size]
