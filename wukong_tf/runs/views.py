"""Views of a checkpoint's arrays, which are read on demand."""

from collections.abc import Iterator, Mapping

import numpy as np

AVERAGED = "optimizer/average/"  # trained weights, stored next to averages


class ArrayView(Mapping[str, np.ndarray]):
    """Base class of views of arrays by name."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = arrays

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class Trained(ArrayView):
    """A checkpoint's arrays for a run that averages weights.

    If the checkpoint's run did not, its weights are the trained ones too.
    """

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays and name.startswith(AVERAGED):
            name = name.removeprefix(AVERAGED)
            if not name.startswith("tables/"):
                name = f"dense/{name}"
        return self._arrays[name]


class Renamed(ArrayView):
    """Arrays under other names.

    Args:
        arrays: the arrays.
        names: dict of new name to name in `arrays`; other arrays keep theirs.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], names: Mapping[str, str]
    ):
        super().__init__(arrays)
        self._names = names

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[self._names.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        new = {old: name for name, old in self._names.items()}
        return (new.get(name, name) for name in self._arrays)


class FirstColumns(ArrayView):
    """Arrays, those in `widths` cut to their first columns."""

    def __init__(
        self, arrays: Mapping[str, np.ndarray], widths: Mapping[str, int]
    ):
        super().__init__(arrays)
        self._widths = widths

    def __getitem__(self, name: str) -> np.ndarray:
        array, width = self._arrays[name], self._widths.get(name)
        return array if width is None else array[:, :width]
